"""Ring 1: the rules of HTTP/1.1 as pure functions of bytes (RFC 9110, 9112, 6265, 7239)."""
