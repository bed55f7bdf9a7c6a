"""Checks which vendors may carry an SMS with a given number of segments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.accepting.segments import EventLimit, able_vendors
from dispatcher.core.life.sms_text import SmsSize
from dispatcher.errors import CallerError

CHAIN = ("a", "b", "c")


@given(
    segments=st.integers(1, 12),
    most=st.tuples(*[st.integers(1, 12)] * 3),
    event=st.none() | st.integers(1, 12),
)
def test_exactly_those_that_may(segments: int, most: tuple[int, int, int], event: int | None) -> None:
    """A text needs a number of segments. The vendors whose limit is not below this number are returned, in the order of
    the chain.

    CallerError is raised exactly if the event's limit is too low or the limits of all vendors are too low.
    """
    limits, size = dict(zip(CHAIN, most, strict=True)), SmsSize("gsm", segments)
    limit = None if event is None else EventLimit("e", event)
    able = tuple(name for name in CHAIN if limits[name] >= segments)
    if able and (event is None or segments <= event):
        assert able_vendors(CHAIN, size, limits, limit, field="data") == able
    else:
        with pytest.raises(CallerError, match=r"The limit is (events\.e|vendors\.[abc])\.segments_max") as caught:
            able_vendors(CHAIN, size, limits, limit, field="data")
        assert caught.value.field == "data"
