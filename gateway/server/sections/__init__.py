"""The sections of gateway.yaml that have a module of their own, by noun."""
