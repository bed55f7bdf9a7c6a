"""The capacity model. Its arithmetic can be followed by hand, and its answers name their assumptions."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cluster.capacity.estimate import (
    DAY_S,
    GIB,
    REPLICAS_MAX,
    Load,
    capacity,
    needs,
    parse_channels,
    reach,
    settings_of,
)
from cluster.capacity.profile import Profile, load_profile
from dispatcher.config.settings import IntakeSettings, VendorSettings
from dispatcher.core.plan.sizing import pool_size
from dispatcher.errors import ConfigError

PROFILE = Profile(
    intake_cores_idle=0.0,
    intake_cpu_ms_per_trigger=1.0,
    ingress_cpu_ms_per_trigger=0.1,
    ingress_cores_idle=0.0,
    vendor_cores_idle=0.0,
    dispatch_cpu_ms_per_notification=0.6,
    supervisor_cores_idle=0.0,
    supervisor_cpu_ms_per_trigger=0.05,
    ray_cores_idle=0.3,
    ray_cpu_ms_per_trigger=0.0,
    redis_cores_idle=0.0,
    redis_cpu_ms_per_trigger_accepted=0.1,
    redis_cpu_ms_per_notification_delivered=0.1,
    queued_bytes_per_notification=800.0,
    retained_bytes_per_notification=400.0,
    aof_written_bytes_per_notification=2048.0,
    aof_kept_bytes_per_notification_queued=500.0,
    aof_kept_bytes_per_notification_retained=250.0,
    machine="a test",
)
CHEAP = replace(PROFILE, redis_cpu_ms_per_notification_delivered=0.0, redis_cpu_ms_per_trigger_accepted=0.0)
BOTH = {"sms": 1.0, "email": 1.0}
CELLS, SMS_ACTORS = "cells (installations)", "actors of the first vendor, sms"
OURS = "CPU for intake, HAProxy and actors"


def answer(load: Load, profile: Profile = PROFILE) -> dict[str, float]:
    return {need.what: need.value for need in needs(load, profile)}


def test_ten_million_a_day_by_hand() -> None:
    """For a mean of 100 triggers/s, each figure equals the one computed by hand: a cost times a rate.

    Some of these figures are then divided by the share of a core, of an actor's calls or of the memory that may be in
    use.
    """
    found = answer(Load(DAY_S * 100, BOTH))
    assert found["mean rate of triggers"] == 100
    assert found["peak rate of triggers"] == 1000
    assert found["peak rate of notifications"] == 2000
    assert found["intake replicas"] == 2  # 1000 × 1 ms = 1 core, 60 % full
    assert found[SMS_ACTORS] == 2  # 1000 × 100 ms = 100 calls at once, 64 per actor, 80 % busy
    assert found[OURS] == pytest.approx((1.0 + 0.1 + 1.2) / 0.6)
    assert found["CPU for the whole service"] == pytest.approx(
        (2.3 + 0.05 + 0.3 + 0.3) / 0.6
    )  # supervisor, Redis, Ray of one node
    assert found["CPU of Redis at the peak"] == pytest.approx(0.3)
    retained, queued = 100 * 2 * DAY_S * 400, 100 * 2 * 3600 * 800
    assert found["memory of Redis"] == pytest.approx((retained + queued) / 0.8 / GIB)
    assert found["disk writes of Redis at the peak"] == pytest.approx(2000 * 2048 / 2**20)
    assert found["contract rate needed, email"] == 1000
    assert found[CELLS] == 1


def test_an_idle_process_costs_too() -> None:
    """The estimate of cores includes what each process uses when it is idle: two intake replicas and eight vendor
    actors.

    The eight include the actors of the fallback vendors.
    """
    found = answer(Load(DAY_S * 100, BOTH), replace(PROFILE, intake_cores_idle=0.05, vendor_cores_idle=0.02))
    assert found["intake replicas"] == 2  # 1 core of work, 0.55 of each replica's
    assert found[OURS] == pytest.approx((2.3 + 2 * 0.05 + 8 * 0.02) / 0.6)


def test_cells_share_the_load() -> None:
    """Five cells divide the load among them, so their cores together are those of the whole load."""
    found = answer(Load(DAY_S * 1000, BOTH, retention_s=1.0))
    assert found[CELLS] == 5
    assert found["intake replicas"] == 5 * 4
    assert found[SMS_ACTORS] == 5 * 4
    assert found[OURS] == pytest.approx((10 + 1 + 12) / 0.6)


def test_a_small_load_still_survives_a_kill() -> None:
    """Even the smallest load needs two intake replicas and one actor per channel."""
    found = answer(Load(1, BOTH))
    assert (found["intake replicas"], found[SMS_ACTORS], found[CELLS]) == (
        2,
        1,
        1,
    )


def test_a_slow_vendor_needs_actors_not_cores() -> None:
    """A vendor with ten times the latency needs ten times the actors, because each actor has a limit of open calls.

    The CPU stays the same.
    """
    quick, slow = Load(DAY_S * 100, BOTH, vendor_ms=100), Load(DAY_S * 100, BOTH, vendor_ms=1000)
    assert answer(slow)[SMS_ACTORS] == 20  # 1000 calls at once, 64 per actor, 80 % busy
    assert answer(slow)[OURS] == answer(quick)[OURS]


@pytest.mark.parametrize(
    ("load", "profile"),
    [
        (Load(DAY_S * 1000, BOTH), PROFILE),
        (Load(DAY_S * 100, BOTH, retention_s=30 * DAY_S), PROFILE),
    ],
    ids=["one thread is not enough", "one memory is not enough"],
)
def test_more_than_one_redis_is_said(load: Load, profile: Profile) -> None:
    """A load needs several cells if it is too much for one Redis: for its single thread or for its memory.

    The reason that the estimate gives names the thread and the memory.
    """
    (cells,) = [need for need in needs(load, profile) if need.what == CELLS]
    assert cells.value > 1
    assert "a thread" in cells.because and "GiB" in cells.because


def test_each_cell_has_its_own_floors() -> None:
    """Ten years of records need the memory of five cells.

    Each of the five cells has at least two intake replicas, and at least one actor for each channel.
    """
    found = answer(Load(DAY_S, BOTH, retention_s=3600 * DAY_S))
    assert found[CELLS] == 5  # 3,600 days × 86,400 × 2 × 400 B, of which 80 % may be used, 64 GiB each
    assert (found["intake replicas"], found[SMS_ACTORS]) == (10, 5)


@pytest.mark.parametrize("per_s", [10, 500, 640, 1000, 5000])
def test_the_pools_are_those_that_the_supervisor_would_keep(per_s: int) -> None:
    """The model estimates a pool's size for a load. The supervisor (dispatcher/core/plan/sizing.py) would keep a pool
    of this size.

    It would let a smaller pool grow.
    """

    def planned(live: int) -> int:
        return pool_size(float(per_s), 0.1, 0, concurrency=64, rate_per_s=None, live=live, least=1, most=10**9)

    size = int(answer(Load(DAY_S * per_s, BOTH, peak_factor=1.0, retention_s=1.0), CHEAP)[SMS_ACTORS])
    assert planned(size) == size
    assert size == 1 or planned(size - 1) > size - 1


def test_an_outage_is_queued_at_the_mean_rate() -> None:
    """The memory for an outage is estimated at the mean rate, and the reason says so.

    A higher peak does not change the memory.
    """
    low, high = (needs(Load(DAY_S * 100, BOTH, peak_factor=factor), CHEAP) for factor in (1.0, 2.0))
    (memory,), (same,) = ([need for need in each if need.what == "memory of Redis"] for each in (low, high))
    assert memory.value == same.value
    assert "an outage of 3,600 s is queued at the mean rate" in memory.because


def test_what_the_configuration_must_say_is_named() -> None:
    """The estimate names the settings of one cell, such as `intake.replicas_min`.

    A setting's value times the number of cells is the number of replicas or actors that the estimate counted.
    """
    load = Load(DAY_S * 1000, {"sms": 2.0, "email": 1.0})
    counted = answer(load)
    told = {need.what: need.value * counted[CELLS] for need in settings_of(load, PROFILE)}
    assert told == {
        "setting intake.replicas_min": counted["intake replicas"],
        "setting vendors.NAME.replicas_max, sms": counted[SMS_ACTORS],
        "setting vendors.NAME.replicas_max, email": counted["actors of the first vendor, email"],
    }
    assert told["setting vendors.NAME.replicas_max, sms"] > told["setting vendors.NAME.replicas_max, email"]


def test_the_default_that_is_named_is_the_settings() -> None:
    fields = (VendorSettings.model_fields["replicas_max"], IntakeSettings.model_fields["replicas_max"])
    assert [field.default for field in fields] == [REPLICAS_MAX, REPLICAS_MAX]


@pytest.mark.parametrize(
    ("per_s", "unit"), [(49, "/s, BEYOND"), (50, "/s, within"), (200, "/s, within"), (210, "/s, BEYOND")]
)
def test_a_peak_beyond_the_rates_measured_is_marked(per_s: float, unit: str) -> None:
    """The peak of one cell is marked BEYOND if it lies outside of the rates that the profile was fitted to."""
    fitted = replace(CHEAP, fitted_per_s=(100.0, 200.0, 50.0), error_percent=32.1)
    load = Load(DAY_S * per_s, BOTH, peak_factor=1.0, retention_s=1.0)
    assert reach(load, fitted).unit == unit
    assert "fitted to 50 to 200 /s" in reach(load, fitted).because
    assert "off by up to 32.1%" in reach(load, fitted).because


def test_more_cells_come_back_within_reach() -> None:
    """A peak of 10,000/s is within reach, because five cells (installations) of 2,000/s carry it. A single cell of
    3,000/s is beyond the measured rates.
    """
    load = Load(DAY_S * 1000, BOTH, retention_s=1.0)
    fitted = {"fitted_per_s": (50.0, 2000.0)}
    assert reach(load, replace(PROFILE, **fitted)).unit == "/s, within"
    assert reach(replace(load, per_day=DAY_S * 300), replace(CHEAP, **fitted)).unit == "/s, BEYOND"


def test_a_profile_that_does_not_say_where_it_holds_holds_nowhere() -> None:
    found = reach(Load(DAY_S, BOTH), PROFILE)
    assert found.unit == "/s, BEYOND"
    assert "do not say where they hold" in found.because
    assert "never checked" in found.because


def test_a_profile_tells_where_it_holds_and_how_far_it_is_off(tmp_path: Path) -> None:
    """A profile is loaded with its fitted rates and its error.

    A profile that was never checked has the error None, and not 0.
    """
    file = tmp_path / "profile.json"
    unchecked = {**asdict(PROFILE), "fitted_per_s": [116, 250]}
    file.write_text(json.dumps(unchecked))
    assert (load_profile(file).fitted_per_s, load_profile(file).error_percent) == ((116.0, 250.0), None)
    file.write_text(json.dumps({**unchecked, "error_percent": 12.5}))
    assert load_profile(file).error_percent == 12.5
    file.write_text(json.dumps({**unchecked, "error_percent": "small"}))
    with pytest.raises(ConfigError, match="error_percent"):
        load_profile(file)


@pytest.mark.parametrize("text", ["[]", "7", "{", "null"])
def test_a_profile_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    """A profile file that holds no JSON object raises `ConfigError` with one sentence about the profile."""
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ConfigError, match="profile: cannot be read"):
        load_profile(tmp_path / "p.json")


@pytest.mark.parametrize("rates", [7, ["x"], [None]])
def test_rates_that_are_none_are_refused(rates: object) -> None:
    with pytest.raises(ConfigError, match="fitted_per_s"):
        Profile.parse({**asdict(PROFILE), "fitted_per_s": rates})


def test_the_assumptions_do_not_depend_on_the_load() -> None:
    """The reasons are the same for every load, so that a table of several loads shows each reason once."""
    small, large = (needs(Load(per_day, BOTH), PROFILE) for per_day in (1e3, 1e9))
    assert [need.because for need in small] == [need.because for need in large]
    assert reach(Load(1e3, BOTH), PROFILE).because == reach(Load(1e9, BOTH), PROFILE).because


@given(st.floats(1, 1e10), st.floats(1, 100), st.floats(1, 1e7))
def test_more_load_never_needs_less(per_day: float, peak_factor: float, retention_s: float) -> None:
    """Twice as many triggers need at least as much of each resource."""
    load = Load(per_day, BOTH, peak_factor, retention_s)
    one, two = answer(load), answer(replace(load, per_day=per_day * 2))
    assert all(two[what] >= value for what, value in one.items())


def test_every_need_says_why() -> None:
    assert all(need.because for need in needs(Load(1e7, BOTH), PROFILE))


def test_channels_are_read() -> None:
    """`--channels` is parsed. The name of a channel alone means one message for each trigger. A number after `=` gives
    another mean, which may be less than one.
    """
    assert parse_channels("sms,email=0.5") == {"sms": 1.0, "email": 0.5}


@pytest.mark.parametrize("text", ["", "sms=0", "sms=-1", "sms=x", "=1", "sms=nan", "sms=inf"])
def test_bad_channels_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--channels"):
        parse_channels(text)


@pytest.mark.parametrize("value", [None, "1", True, -1.0, float("nan")])
def test_a_bad_profile_names_the_figure(value: object) -> None:
    with pytest.raises(ConfigError, match="queued_bytes_per_notification"):
        Profile.parse({**asdict(PROFILE), "queued_bytes_per_notification": value})


def test_an_idle_cost_of_a_whole_core_is_refused() -> None:
    """The estimate plans to keep each core busy only up to a share of its time. If a profile's idle process already
    uses this share, the profile is refused, because no time would be left for work.
    """
    with pytest.raises(ConfigError, match="vendor_cores_idle"):
        Profile.parse({**asdict(PROFILE), "vendor_cores_idle": 0.6})


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    """`dispatcher capacity` prints one column for each load."""
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(asdict(PROFILE)))
    words = ["--per-day", "1e7", "--per-day", "1e8", "--profile", str(file)]
    done = CliRunner().invoke(capacity, [*words, "--markdown"])
    assert done.exit_code == 0, done.output
    assert "| | 10,000,000 a day | 100,000,000 a day | because |" in done.output
    assert "| peak rate of triggers | 1,157 /s | 11,574 /s | the peak is 10 times the mean |" in done.output
    assert "| setting intake.replicas_min | 2 |" in done.output
    assert "| peak rate of triggers in a cell | 1,157 /s, BEYOND |" in done.output
    done = CliRunner().invoke(capacity, words)
    assert "costs measured on a test" in done.output
