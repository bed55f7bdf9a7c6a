"""The policies under which a chaos test runs: one in `make test`, both in `make chaos`."""

from __future__ import annotations

import pytest

policies = pytest.mark.parametrize("policy", ["resend", pytest.param("hold", marks=pytest.mark.long)])
"""Triggers say `resend` or `hold` for an unknown outcome."""
