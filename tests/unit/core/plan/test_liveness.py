"""Checks that an actor is declared dead only if it is silent while others are heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.plan.liveness import RestartIntensity, SilenceWatch

BEAT_MS = 250


class Scene:
    """A supervisor that watches actors, each of which sends a beat every 250 ms.

    The supervisor also sends beats to itself. If these come back (`echo`), the supervisor can hear.
    """

    def __init__(self, *actors: str) -> None:
        self.watch = SilenceWatch(2000, 500)
        self.watch.watch(actors)
        self.now_ms = 0.0

    def pass_ms(self, ms: float, beating: set[str], echo: bool = True) -> None:
        for _ in range(int(ms / BEAT_MS)):
            self.now_ms += BEAT_MS
            for actor in sorted(beating):
                self.watch.on_beat(actor)
            if echo:
                self.watch.on_echo(self.now_ms)


def test_the_silent_one_is_found_within_its_time() -> None:
    """An actor is dead after two seconds without a beat, and not sooner.

    Only time in which the supervisor hears its own messages counts. Otherwise the link may be silent and not the actor.
    """
    scene = Scene("a/1", "a/2", "b/3")
    scene.pass_ms(1000, {"a/1", "a/2", "b/3"})
    scene.pass_ms(1500, {"a/1", "b/3"})
    assert scene.watch.dead() == []
    scene.pass_ms(500, {"a/1", "b/3"})
    assert scene.watch.dead() == ["a/2"]


def test_one_that_waits_for_a_core_is_not_dead_for_ten_seconds() -> None:
    """Up to eight seconds of waiting for a core do not count as silence.

    A frozen process does not wait for a core and is found in the usual time.
    """
    watch = SilenceWatch(2000, 500)
    watch.watch(["a/1", "a/2", "b/3", "b/4"])
    waited = {"a/1": 240.0, "a/2": 0.0}
    found: dict[str, float] = {}
    for n in range(1, 60):
        watch.on_beat("b/3")
        watch.on_beat("b/4")
        watch.on_echo(n * 250.0, lambda name: waited.get(name, 0.0))
        for name in watch.dead():
            found.setdefault(name, n * 250.0)
        watch.watch({"a/1", "a/2", "b/3", "b/4"} - set(found))
    assert found == {"a/2": 2000.0 + 250.0, "a/1": 10_250.0}


def test_a_beat_gives_a_starved_one_its_patience_again() -> None:
    """An actor beats rarely, because its process waits for a core. After each beat it may be silent for the whole
    patience again.

    A process may report that it waited longer than the time since the last echo (the supervisor's own beat). Then only
    that time counts as waiting.
    """
    watch = SilenceWatch(2000, 500)
    watch.watch(["a/1", "a/2", "b/3"])
    for n in range(1, 200):
        for name in ("a/2", "b/3", *(["a/1"] if n % 30 == 0 else [])):
            watch.on_beat(name)
        watch.on_echo(n * 250.0, lambda name: 10_000.0)
        assert watch.dead() == []


def test_a_stall_condemns_nobody() -> None:
    """The store or the supervisor stalls for 30 s, and the supervisor declares no actor dead.

    The supervisor's own beat comes back late too, so the supervisor does not count these 30 s as silence of the actors.
    """
    scene = Scene("a/1", "a/2", "b/3")
    scene.pass_ms(1000, {"a/1", "a/2", "b/3"})
    scene.now_ms += 30_000
    scene.watch.on_echo(scene.now_ms)
    assert scene.watch.dead() == []


def test_a_stall_of_three_seconds_finds_only_the_dead() -> None:
    """The supervisor hears nothing for three seconds. After that, only the actor that really is dead is found.

    The three seconds count as silence for no actor, because the supervisor did not hear its own messages either.
    """
    scene = Scene("a/1", "a/2", "a/3", "b/4")
    scene.pass_ms(1000, {"a/1", "a/2", "b/4"})
    scene.now_ms += 3000
    scene.pass_ms(750, {"a/1", "a/2", "b/4"})
    assert scene.watch.dead() == []
    scene.pass_ms(750, {"a/1", "a/2", "b/4"})
    assert scene.watch.dead() == ["a/3"]


def test_a_new_supervisor_condemns_nobody_for_its_own_absence() -> None:
    """A new supervisor counts every silence from zero."""
    watch = SilenceWatch()
    watch.watch(["a/1", "b/2"])
    watch.on_echo(1_000_000.0)
    assert watch.dead() == []


def test_more_than_half_silent_means_patience() -> None:
    """If more than half of the actors fall silent at once, the supervisor waits three times as long, because it
    may be deaf itself. After that the silent actors are dead.
    """
    scene = Scene("a/1", "a/2", "b/3")
    scene.pass_ms(5500, {"a/1"})
    assert scene.watch.dead() == []
    scene.pass_ms(750, {"a/1"})
    assert scene.watch.dead() == ["a/2", "b/3"]


@pytest.mark.parametrize("actors", [("a/1",), ("a/1", "b/2")])
def test_a_pair_is_too_few_for_patience(actors: tuple[str, ...]) -> None:
    """One or two actors are silent. They are declared dead after the usual time of silence, because patience is only
    for larger groups that fall silent together.
    """
    scene = Scene(*actors)
    scene.pass_ms(2250, set())
    assert scene.watch.dead() == list(actors)


def test_a_beat_starts_the_count_again() -> None:
    """A beat just before the limit starts the count of silence again."""
    scene = Scene("a/1", "a/2", "b/3")
    for _ in range(4):
        scene.pass_ms(1500, {"a/1", "b/3"})
        assert scene.watch.dead() == []
        scene.pass_ms(250, {"a/1", "a/2", "b/3"})


def test_who_is_not_watched_is_not_judged() -> None:
    """An incarnation that is no longer watched is dropped, and a new one starts with no silence."""
    scene = Scene("a/1")
    scene.pass_ms(1900, set())
    scene.watch.watch(["a/1", "a/2"])
    scene.pass_ms(500, set())
    assert scene.watch.dead() == ["a/1"]
    scene.watch.watch(["a/2"])
    assert scene.watch.dead() == []


@given(st.lists(st.tuples(st.floats(0, 60_000), st.booleans(), st.booleans()), max_size=60))
def test_the_living_are_never_condemned(steps: list[tuple[float, bool, bool]]) -> None:
    """An actor that is heard between any two echoes (the supervisor's own beats) is never declared dead, however time
    jumps.

    No actor is declared dead before the supervisor has listened for two seconds.
    """
    watch = SilenceWatch(2000, 500)
    watch.watch(["a/1", "a/2", "a/3"])
    now_ms = listened_ms = 0.0
    last: float | None = None
    for gap_ms, beats, echo in steps:
        now_ms += gap_ms
        watch.on_beat("a/1")
        if beats:
            watch.on_beat("a/2")
        if echo:
            watch.on_echo(now_ms)
            if last is not None and now_ms - last <= 500:
                listened_ms += now_ms - last
            last = now_ms
        assert "a/1" not in watch.dead()
        if listened_ms < 2000:
            assert watch.dead() == []


def test_five_deaths_in_a_minute_are_borne_the_sixth_is_not() -> None:
    """Six actors of a pool die within a minute, the first exactly a minute before the last. The pool is quarantined for
    a minute.

    After the quarantine the pool's count of deaths is 0.
    """
    intensity = RestartIntensity(deaths_max=5, period_s=60.0, quarantine_s=60.0)
    for at_s in (0.0, 10.0, 20.0, 30.0, 40.0):
        intensity.on_deaths(["a"], at_s)
    assert intensity.quarantined(50.0) == set()
    intensity.on_deaths(["a"], 60.0)
    assert intensity.quarantined(60.0) == {"a"}
    assert intensity.quarantined(119.9) == {"a"}
    assert intensity.quarantined(120.0) == set()
    intensity.on_deaths(["a"], 121.0)
    assert intensity.quarantined(121.0) == set()


def test_a_machine_that_takes_many_actors_with_it_is_one_death() -> None:
    """Several actors of one pool die at the same time, for example with their machine. This counts as one death of the
    pool.

    A death counts only for its own pool.
    """
    intensity = RestartIntensity(deaths_max=2)
    intensity.on_deaths(["a", "a", "a", "a", "b"], 0.0)
    assert intensity.quarantined(0.0) == set()
    for at_s in (1.0, 2.0):
        intensity.on_deaths(["a"], at_s)
    assert intensity.quarantined(2.0) == {"a"}


def test_old_deaths_are_forgotten() -> None:
    """One death every 13 s never quarantines a pool, because at most five lie within a minute."""
    intensity = RestartIntensity(deaths_max=5, period_s=60.0)
    for n in range(100):
        intensity.on_deaths(["a"], 13.0 * n)
        assert intensity.quarantined(13.0 * n) == set()


@pytest.mark.parametrize(
    ("machines", "heard", "after_ms"),
    [
        ({"a/1": "n1", "b/1": "n1", "c/1": "n2"}, ("c/1",), 2000),  # machine n1 is lost with two of three actors
        ({"a/1": "n1", "b/1": "n2", "c/1": "n2"}, ("c/1",), 6000),  # half of n2 is heard, so the supervisor may be deaf
        ({"a/1": "n1", "b/1": "n1", "c/1": "n1"}, (), 6000),  # no actor is heard
        ({}, ("c/1",), 6000),  # the machines are not known
    ],
)
def test_a_lost_machine_is_no_deafness(machines: dict[str, str], heard: tuple[str, ...], after_ms: int) -> None:
    """If more than half of the actors are silent, they are declared dead only after three times the usual time.

    The usual time holds if whole machines are silent and all actors of the other machines are heard.
    """
    watch = SilenceWatch()
    watch.watch(["a/1", "b/1", "c/1"])
    for now_ms in range(0, 10_000, 250):
        watch.on_echo(now_ms)
        for name in heard:
            watch.on_beat(name)
        if watch.dead(machines):
            assert now_ms == after_ms
            assert watch.dead(machines) == sorted({"a/1", "b/1", "c/1"} - set(heard))
            return
    raise AssertionError("nobody was declared dead")
