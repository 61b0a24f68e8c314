"""The middleware of upstreams, as it is copied from deploy/receipts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

_PATH = Path(__file__).parents[2] / "deploy" / "receipts" / "audit_receipt.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("audit_receipt", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_module = _load()
Receipts = _module.Receipts
RequireReceipt = _module.RequireReceipt
ReceiptError = _module.ReceiptError
