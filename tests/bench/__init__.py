"""The bench: the gateway beside its peers, on one machine, in one run.

`make bench` (or `python -m tests.bench --help`). The method is written down in `docs/benchmarks.md`.
"""
