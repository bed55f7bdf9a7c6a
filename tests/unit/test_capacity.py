"""The capacity model: arithmetic that can be followed by hand, and answers that say what they assume."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cluster.capacity import DAY_S, GIB, Load, Profile, capacity, needs, parse_channels
from dispatcher.errors import ConfigError

PROFILE = Profile(
    intake_cores_idle=0.0,
    intake_cpu_ms_per_trigger=1.0,
    ingress_cpu_ms_per_trigger=0.1,
    ingress_cores_idle=0.0,
    vendor_cores_idle=0.0,
    dispatch_cpu_ms_per_notification=0.6,
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
BOTH = {"sms": 1.0, "email": 1.0}


def answer(load: Load, profile: Profile = PROFILE) -> dict[str, float]:
    return {need.what: need.value for need in needs(load, profile)}


def test_ten_million_a_day_by_hand() -> None:
    """Each line is its cost times its rate, over what a core is planned for."""
    found = answer(Load(DAY_S * 100, BOTH))
    assert found["triggers, mean"] == 100
    assert found["triggers, peak"] == 1000
    assert found["notifications, peak"] == 2000
    assert found["intake replicas"] == 2  # 1000 × 1 ms = 1 core, 60 % full
    assert found["vendor actors, sms"] == 2  # 1000 × 100 ms = 100 calls at once, 64 per actor
    assert found["CPU cores, ours"] == pytest.approx((1.0 + 0.1 + 1.2) / 0.6)
    assert found["Redis CPU, peak"] == pytest.approx(0.3)
    retained, queued = 100 * 2 * DAY_S * 400, 100 * 2 * 3600 * 800
    assert found["Redis memory"] == pytest.approx((retained + queued) / 0.8 / GIB)
    assert found["disk writes, peak"] == pytest.approx(2000 * 2048 / 2**20)
    assert found["contract rate, email"] == 1000
    assert found["Redis cells"] == 1


def test_an_idle_process_costs_too() -> None:
    """Two replicas at 0.05 and two pools of two actors with as many for the fallback at 0.02, on top of the work."""
    found = answer(Load(DAY_S * 100, BOTH), replace(PROFILE, intake_cores_idle=0.05, vendor_cores_idle=0.02))
    assert found["intake replicas"] == 2  # 1 core of work, 0.55 of each replica's
    assert found["CPU cores, ours"] == pytest.approx((2.3 + 2 * 0.05 + 8 * 0.02) / 0.6)


def test_a_small_load_still_survives_a_kill() -> None:
    """Two intake replicas and an actor per channel, however little there is to do."""
    found = answer(Load(1, BOTH))
    assert (found["intake replicas"], found["vendor actors, sms"], found["Redis cells"]) == (2, 1, 1)


def test_a_slow_vendor_needs_actors_not_cores() -> None:
    """Calls in flight are the bound: ten times the latency, ten times the actors, the same CPU."""
    quick, slow = Load(DAY_S * 100, BOTH, vendor_ms=100), Load(DAY_S * 100, BOTH, vendor_ms=1000)
    assert answer(slow)["vendor actors, sms"] == 16
    assert answer(slow)["CPU cores, ours"] == answer(quick)["CPU cores, ours"]


@pytest.mark.parametrize(
    ("load", "profile"),
    [
        (Load(DAY_S * 1000, BOTH), PROFILE),
        (Load(DAY_S * 100, BOTH, retention_s=30 * DAY_S), PROFILE),
    ],
    ids=["one thread is not enough", "one memory is not enough"],
)
def test_more_than_one_redis_is_said(load: Load, profile: Profile) -> None:
    """Beyond one thread or one memory the answer is more cells, and that this version has one."""
    (cells,) = [need for need in needs(load, profile) if need.what == "Redis cells"]
    assert cells.value > 1
    assert "this version has one" in cells.because


@given(st.floats(1, 1e10), st.floats(1, 100), st.floats(1, 1e7))
def test_more_load_never_needs_less(per_day: float, peak_factor: float, retention_s: float) -> None:
    """Twice the triggers need at least as much of everything."""
    load = Load(per_day, BOTH, peak_factor, retention_s)
    one, two = answer(load), answer(replace(load, per_day=per_day * 2))
    assert all(two[what] >= value for what, value in one.items())


def test_every_need_says_why() -> None:
    assert all(need.because for need in needs(Load(1e7, BOTH), PROFILE))


def test_channels_are_read() -> None:
    """A name means one message; a share may be less than one."""
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
    """Nothing would be left of it to work with."""
    with pytest.raises(ConfigError, match="vendor_cores_idle"):
        Profile.parse({**asdict(PROFILE), "vendor_cores_idle": 0.6})


def test_the_command_prints_a_table(tmp_path: Path) -> None:
    """One column per load."""
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(asdict(PROFILE)))
    words = ["--per-day", "1e7", "--per-day", "1e8", "--profile", str(file)]
    done = CliRunner().invoke(capacity, [*words, "--markdown"])
    assert done.exit_code == 0, done.output
    assert "| | 10,000,000 a day | 100,000,000 a day |" in done.output
    done = CliRunner().invoke(capacity, words)
    assert "costs measured on a test" in done.output


def test_the_documents_table_is_what_the_command_prints() -> None:
    """docs/capacity.md holds the answer of the committed profile; whoever changes either sees it here."""
    words = [part for per_day in ("1e7", "1e8", "1e9") for part in ("--per-day", per_day)]
    done = CliRunner().invoke(capacity, [*words, "--markdown"])
    assert done.exit_code == 0, done.output
    assert done.output.strip() in (Path(__file__).parents[2] / "docs" / "capacity.md").read_text()
