"""Checks quiet hours: no message is sent inside them or before its own time, also when clocks change."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import datetime, time, timedelta, timezone
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.core.accepting.quiet_hours import after_quiet, is_quiet, zone

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")
STEADY = ("UTC", "Asia/Kolkata")
NINE, EIGHT = time(21), time(8)
HOUR_MS = 3_600_000


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


@pytest.mark.parametrize(
    ("at", "zone", "begin", "end", "until"),
    [
        pytest.param("2026-11-24T20:59:59", "UTC", NINE, EIGHT, "2026-11-24T20:59:59", id="just before"),
        pytest.param("2026-11-24T21:00", "UTC", NINE, EIGHT, "2026-11-25T08:00", id="the evening"),
        pytest.param("2026-11-24T07:59:59", "UTC", NINE, EIGHT, "2026-11-24T08:00", id="the morning"),
        pytest.param("2026-11-24T08:00", "UTC", NINE, EIGHT, "2026-11-24T08:00", id="the end is not quiet"),
        pytest.param("2026-11-24T20:30", "Europe/Berlin", NINE, EIGHT, "2026-11-24T20:30", id="where the recipient is"),
        pytest.param("2026-11-24T13:00", "UTC", time(12), time(14), "2026-11-24T14:00", id="within a day"),
        pytest.param("2026-11-24T13:00", "UTC", EIGHT, EIGHT, "2026-11-24T13:00", id="none at all"),
        pytest.param(
            "2026-03-29T01:30", "Europe/Berlin", NINE, time(2, 30), "2026-03-29T03:30", id="an end that is not"
        ),
    ],
)
def test_what_falls_into_quiet_hours_waits_for_their_end(
    at: str, zone: str, begin: time, end: time, until: str
) -> None:
    """A time inside quiet hours is moved to their end, in local time of the zone. Any other time stays."""
    assert after_quiet(ms(at, zone), begin, end, ZoneInfo(zone)) == ms(until, zone)


def test_of_an_end_that_comes_twice_the_next_is_taken() -> None:
    """In the night in which clocks are set back, 2:30 comes twice.

    A message before the first 2:30 waits for the first, and a later message waits for the second.
    """
    zone = ZoneInfo("Europe/Berlin")
    first, second = (ms("2026-10-25T02:30", "Europe/Berlin", fold) for fold in (0, 1))
    assert second - first == HOUR_MS
    assert after_quiet(ms("2026-10-25T02:10", "Europe/Berlin", 0), NINE, time(2, 30), zone) == first
    assert after_quiet(ms("2026-10-25T02:10", "Europe/Berlin", 1), NINE, time(2, 30), zone) == second


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(timezone.utc)),
    st.times(),
    st.times(),
    st.sampled_from(ZONES),
)
@example(datetime(2026, 10, 25, 1, 10, tzinfo=timezone.utc), NINE, time(2, 30), "Europe/Berlin")
def test_nobody_is_woken_and_nothing_is_early(at: datetime, begin: time, end: time, zone: str) -> None:
    """The time that `after_quiet` returns is never before the given time and at most 25 hours after it.

    In zones whose clocks never change, the returned time is outside the quiet hours.
    """
    begin, end = begin.replace(microsecond=0, tzinfo=None), end.replace(microsecond=0, tzinfo=None)
    at_ms = int(at.timestamp() * 1000)
    found_ms = after_quiet(at_ms, begin, end, ZoneInfo(zone))
    assert at_ms <= found_ms <= at_ms + 25 * HOUR_MS
    local = datetime.fromtimestamp(found_ms / 1000, ZoneInfo(zone)).time()
    if zone in STEADY:  # elsewhere a change of clocks may skip the end of the quiet hours
        assert not is_quiet(local, begin, end)


@pytest.fixture
def _slim_host() -> Iterator[None]:
    """Hide the host's time zone files during the test, as in a slim container."""
    found = zoneinfo.TZPATH

    def look_in(*folders: str) -> None:
        zoneinfo.reset_tzpath(folders)
        ZoneInfo.clear_cache()
        zone.cache_clear()

    look_in()
    yield
    look_in(*found)


@pytest.mark.usefixtures("_slim_host")
def test_a_host_without_time_zones_has_those_of_the_package() -> None:
    """On a host without time zone files, all zones of these tests are found, and an unknown name is refused
    (scale-agentex 370, goclaw 1372).
    """
    for name in ZONES:
        assert zone(name).key == name
    assert datetime(2026, 7, 1, tzinfo=zone("Europe/Berlin")).utcoffset() == timedelta(hours=2)
    with pytest.raises(ValueError, match="must be the name of a time zone"):
        zone("Moon/Base")


@pytest.mark.parametrize("name", ["localtime", "posixrules", "Factory", "posix/Asia/Tokyo", "right/Asia/Tokyo"])
def test_a_file_of_the_host_that_is_no_place_is_no_zone(name: str, tmp_path: Path) -> None:
    """Debian has such files beside the zones. `localtime` is the server's own zone, not the recipient's."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(resources.files("tzdata.zoneinfo.Asia").joinpath("Tokyo").read_bytes())
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    try:
        assert ZoneInfo.no_cache(name).key == name
        with pytest.raises(ValueError, match="must be the name of a time zone"):
            zone(name)
    finally:
        zoneinfo.reset_tzpath()
