"""The OWASP Core Rule Set as a second engine: libmodsecurity, in processes of its own.

The library holds the interpreter's lock for milliseconds and carries old native libraries of its own; a fault in it must
not be a fault of what serves requests. It is an extra: `pip install gateway[waf]`.
"""
