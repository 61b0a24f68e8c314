"""What the build needs and the gateway does not: run as `python -m tools.NAME` from the top of the checkout."""
