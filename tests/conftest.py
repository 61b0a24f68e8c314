"""What holds for every test: properties are tried without a clock, for a busy machine proves nothing about the code."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("fast", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("GATEWAY_HYPOTHESIS", "fast"))
