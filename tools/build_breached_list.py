"""Rebuild gateway/store/data/breached.bin from the package zxcvbn (PyPI, MIT): python tools/build_breached_list.py."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from zxcvbn.frequency_lists import FREQUENCY_LISTS  # type: ignore[import-untyped]

from gateway.authn.breached import make_list

TARGET = Path(__file__).parent.parent / "gateway" / "store" / "data" / "breached.bin"


def main() -> None:
    """Write the list and say what it was made of."""
    passwords = FREQUENCY_LISTS["passwords"]
    data = make_list(passwords)
    TARGET.write_bytes(data)
    sys.stdout.write(f"{TARGET}: {len(set(passwords))} passwords of zxcvbn {version('zxcvbn')}, {len(data)} bytes\n")


if __name__ == "__main__":
    main()
