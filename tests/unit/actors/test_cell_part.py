"""The part of an intake replica for one cell watches its vendors as one of several cells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from actors.cell_part import CellPart
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.config.settings import parse_settings
from dispatcher.core.plan.stall import patience_s
from dispatcher.telemetry.metrics import Metrics

SETTINGS: dict[str, Any] = {
    "vendors": {"a": {"adapter": "twilio", "channel": "sms", "rate_per_s": 0.05}},
    "routes": [{"channel": "sms", "chain": ["a"]}],
}


@pytest.mark.parametrize(("cells", "rate_per_s"), [([], 0.05), (["file:/one", "file:/two", "file:/three"], 0.0125)])
def test_a_slow_vendor_is_not_called_stalled_for_having_a_part_of_its_rate(cells: list[str], rate_per_s: float) -> None:
    """With four cells, a vendor of 0.05 calls a second makes a call in 80 s in each cell. So each cell is patient for
    160 s.
    """
    part: Any = CellPart(parse_settings({**SETTINGS, "store": {"cells": cells}}), SystemClock(), Metrics())
    part.intake, part._control, part._replicated = SimpleNamespace(), None, None
    assert part._watches().stalls._watch._patience_s == {"a": patience_s(rate_per_s)}
