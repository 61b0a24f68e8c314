"""The programs that are compared, one module each: its configuration, its start, its sign-in."""
