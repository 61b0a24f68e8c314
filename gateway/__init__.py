"""A self-hosted reverse-proxy security gateway."""

__version__ = "0.1.0"
