"""Content Security Policy (W3C CSP Level 3) of a route: written, reported about, and turned into the next one."""
