"""Checks the two forms in which a moment is shown: milliseconds for programs, and local time for people."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from dispatcher.wire.moments import local, moment


@pytest.fixture
def vienna() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


@pytest.mark.usefixtures("vienna")
def test_a_moment_has_local_time_with_its_offset() -> None:
    """A moment is shown in milliseconds and as local time with its UTC offset, so that nobody has to convert it."""
    assert moment("until", 1_700_000_000_123) == {
        "until_ms": 1_700_000_000_123,
        "until": "2023-11-14T23:13:20+01:00",
    }
    assert local(1_720_000_000_000) == "2024-07-03T11:46:40+02:00"
    assert datetime.fromisoformat(local(1_700_000_000_000)).timestamp() == 1_700_000_000


def test_no_moment_is_none_twice() -> None:
    """For an unknown moment, both fields (milliseconds and local time) are present and None."""
    assert moment("due", None) == {"due_ms": None, "due": None}
