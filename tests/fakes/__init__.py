"""Real things made small, for tests of several packages."""
