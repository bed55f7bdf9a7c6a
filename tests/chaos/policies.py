"""The policies for unknown outcomes under which a chaos test runs: `resend` in `make test`, and also `hold` in `make
chaos`.
"""

from __future__ import annotations

import pytest

policies = pytest.mark.parametrize("policy", ["resend", pytest.param("hold", marks=pytest.mark.long)])
"""Runs a test with triggers that say `resend` for an unknown outcome. `make chaos` also runs it with `hold`."""
