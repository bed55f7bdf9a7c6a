"""The figures of a drill mean what their names say."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from cluster.rehearsal.demo import CHANNELS
from cluster.rehearsal.drills.bars import BARS, Bar, bar_of, measured, probes_most
from cluster.rehearsal.drills.catalogue import DRILLS, EVERY, FIRST, NO_STORM, Drill
from cluster.rehearsal.drills.catalogue import STORM as STORM_OF
from cluster.rehearsal.drills.command import STORM, drill
from cluster.rehearsal.drills.play import Run, Window
from cluster.rehearsal.drills.report import FIELDS, begun_before_s, kept_up, summary, switches_a_minute, wrong
from cluster.rehearsal.load import Posted
from cluster.rehearsal.verdict import Verdict


def plan(at_s: float, **takes_new: bool) -> dict[str, Any]:
    return {"at_ms": at_s * 1000, "vendors": {name: {"takes_new": takes} for name, takes in takes_new.items()}}


@pytest.mark.parametrize(
    ("switches_s", "most"),
    [
        pytest.param([], 0, id="never"),
        pytest.param([110, 130], 2, id="away and back"),
        pytest.param([110, 130, 171, 191], 2, id="two within any minute"),
        pytest.param([110, 130, 169], 3, id="a third just within it"),
        pytest.param([90, 95, 110], 1, id="what was before does not count"),
    ],
)
def test_switches_are_counted_in_the_worst_minute(switches_s: list[float], most: int) -> None:
    """The figure counts how often a plan gives new work to a vendor or withdraws it again. The result is the largest
    count within a minute.

    Plans that change nothing about new work do not count.
    """
    history, takes = [plan(0, a=True, b=True)], True
    for at_s in switches_s:
        takes = not takes
        history += [plan(at_s, a=takes, b=True), plan(at_s + 1, a=takes, b=True)]
    assert switches_a_minute(history[::-1], 100.0) == most


def fault(began_s: float, *repeats: str, wakes: bool = False) -> Window:
    """Return a fault that took 0.1 s to start and lasted for 5 s.

    `repeats` are vendors. The fault may explain the repeat of a message that one of them had received.
    """
    return Window(
        Drill("x", "", 5, lambda service: None, repeats=repeats, wakes=wakes), began_s, began_s + 0.1, began_s + 5
    )


KILL, NODE, FREEZE = fault(100, "a"), fault(100, "a", "b"), fault(100, "a", wakes=True)


@pytest.mark.parametrize(
    ("copies", "windows", "unexplained"),
    [
        pytest.param([(99.7, "a"), (102.5, "a")], [KILL], 0, id="in flight at the kill"),
        pytest.param([(99.7, "a"), (102.5, "b")], [KILL], 0, id="and sent by the fallback"),
        pytest.param([(100.45, "a"), (102.5, "a")], [KILL], 0, id="received when its caller was dead"),
        pytest.param([(99.4, "a"), (102.5, "a")], [KILL], 1, id="long settled"),
        pytest.param([(100.6, "a"), (102.5, "a")], [KILL], 1, id="sent after it"),
        pytest.param([(99.7, "b"), (102.5, "a")], [KILL], 1, id="of another vendor, which was well"),
        pytest.param([(99.7, "b"), (102.5, "a")], [NODE], 0, id="of another vendor, which was killed too"),
        pytest.param([(60.0, "a"), (99.7, "a")], [KILL], 1, id="the repeat itself was in flight"),
        pytest.param([(99.7, "a"), (102.0, "a"), (103.0, "a")], [KILL], 1, id="twice more, and one kill"),
        pytest.param([(49.7, "a"), (99.7, "a"), (103.0, "a")], [fault(50, "a"), KILL], 0, id="twice more, two kills"),
        pytest.param([(99.7, "a"), (102.5, "a")], [FREEZE], 0, id="in flight at the freeze"),
        pytest.param([(102.5, "b"), (105.1, "a")], [FREEZE], 0, id="begun before the freeze, sent on waking"),
        pytest.param([(102.5, "b"), (105.1, "b")], [FREEZE], 1, id="not by him who woke"),
        pytest.param([(102.5, "b"), (105.1, "a")], [KILL], 1, id="the dead do not wake"),
        pytest.param([(101.0, "b"), (102.5, "b")], [FREEZE], 1, id="by others while he slept"),
        pytest.param([(104.8, "a"), (105.2, "a")], [NODE], 1, id="while Redis is away"),
        pytest.param([(99.9, "a"), (102.5, "a")], [fault(100)], 1, id="a vendor's outage explains nothing"),
        pytest.param([(99.9, "a"), (102.5, "a")], [fault(50, "a"), fault(100)], 1, id="nor a kill long ago"),
    ],
)
def test_a_repeat_is_explained_by_a_fault_that_covered_it(
    copies: list[tuple[float, str]], windows: list[Window], unexplained: int
) -> None:
    """A fault explains a repeat only if a vendor that the fault hit had received a copy at the time of the fault."""
    verdict = Verdict(copies={"N1/sms": copies})
    assert Run([], windows, verdict).unexplained() == ["N1/sms"] * unexplained


@pytest.mark.parametrize(
    ("windows", "sent", "unexplained"),
    [
        pytest.param([KILL], 50, 0, id="what comes in half a second"),
        pytest.param([KILL], 53, 3, id="more"),
        pytest.param([FREEZE], 50, 0, id="who sleeps had no more"),
        pytest.param([FREEZE], 53, 3, id="more than a sleeper had"),
    ],
)
def test_a_fault_explains_no_more_than_was_in_flight(windows: list[Window], sent: int, unexplained: int) -> None:
    """At 100 triggers a second, messages are repeated after a kill or a freeze. Up to 50 repeats per channel are
    explained by it.

    That is how many may have been in flight. Any further repeat is unexplained.
    """
    copies = {f"N{n}/sms": [(99.9, "a"), (103.0, "a")] for n in range(sent)}
    copies |= {f"M{n}/email": [(99.9, "a"), (103.0, "a")] for n in range(50)}
    assert len(Run([], windows, Verdict(copies=copies), rate_per_s=100.0).unexplained()) == unexplained


def test_of_those_on_waking_one_is_explained() -> None:
    """Three notifications are repeated when a frozen actor continues. The freeze explains one of the repeats and not
    the other two.

    More than one repeat would mean that the actor did not check its claims when it continued.
    """
    copies = {f"N{n}/sms": [(102.5, "b"), (105.05, "a")] for n in range(3)}
    assert len(Run([], [FREEZE], Verdict(copies=copies)).unexplained()) == 2


def test_every_fault_that_kills_says_whose_calls() -> None:
    """A drill that kills or freezes vendor actors, or restarts Redis, may explain repeated messages. It names the
    vendors of those messages.

    No other drill names any vendor.
    """
    said = {name: drill.repeats for name, drill in DRILLS.items() if drill.repeats}
    assert said == {
        "actor-kill": (FIRST,),
        "actor-freeze": (FIRST,),
        "redis-restart": EVERY,
        "stack-kill": EVERY,
    }
    assert set(EVERY) == CHANNELS.keys()


def posts(due_s: list[float]) -> list[Posted]:
    return [Posted(f"N{n}", due, {}) for n, due in enumerate(due_s)]


def run_of(due_s: list[float], delivered_s: list[float | None], window: Window, **fields: Any) -> Run:
    """Return a run with one SMS for each due time. A delivery time of None means that the SMS never came."""
    at = {f"N{n}/sms": at_s for n, at_s in enumerate(delivered_s) if at_s is not None}
    return Run(posts(due_s), [window], Verdict(delivered_at=at), **fields)


@pytest.mark.parametrize(
    ("late_s", "share"),
    [
        pytest.param({}, 100.0, id="all at once"),
        pytest.param(dict.fromkeys(range(100, 150), 6.0), 0.0, id="nothing for five seconds, all later"),
        pytest.param(dict.fromkeys(range(100, 200, 2), 20.0), 50.0, id="every second one"),
        pytest.param(dict.fromkeys(range(95), 20.0), 100.0, id="before the fault"),
    ],
)
def test_kept_up_is_the_worst_five_seconds_of_the_fault(late_s: dict[int, float], share: float) -> None:
    """Ten triggers a second are posted, and a fault lasts from second 10 to 20. `kept_up` looks at each five seconds of
    the fault.

    It compares the deliveries with the triggers that were due, and returns the percentage of the worst five seconds.
    """
    due = [n / 10 for n in range(300)]
    drill = Drill("x", "", 10, lambda service: None)
    run = run_of(due, [at + late_s.get(n, 0.0) for n, at in enumerate(due)], Window(drill, 10.0, 10.0, 20.0))
    assert kept_up(run) == share


def test_what_was_begun_before_a_fault_is_done_when_its_last_is() -> None:
    """The figure is the seconds from the fault to the last delivery of a trigger that was due before the fault.

    If all those triggers arrived before the fault it is 0, and if there were none it is None.
    """
    run = run_of([1.0, 2.0, 11.0], [1.1, 12.5, 30.0], fault(10.0))
    assert begun_before_s(run) == 2.5
    assert begun_before_s(run_of([1.0], [1.1], fault(10.0))) == 0.0
    assert begun_before_s(run_of([11.0], [11.1], fault(10.0))) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"held": 3}, None),
        ({"lost": 1}, "1 lost"),
        ({"repeated": 2}, "2 repeated without a kill to explain it"),
        ({"held": 0, "repeated": 2}, "2 repeated under `hold`, where nothing may be"),
        ({"probes": 0}, "the fault met no call: nothing was shown"),
        ({"probes": 4, "failover s": 0.1}, None),
    ],
)
def test_what_is_held_is_not_lost_and_hold_knows_no_excuse(changes: dict[str, Any], why: str | None) -> None:
    found = {
        "probes": None,
        "failover s": None,
        "unacknowledged": 0,
        "lost": 0,
        "misdirected": 0,
        "repeated": 0,
        "held": None,
    }
    assert wrong({**found, **changes}) == why


@pytest.mark.parametrize(
    ("seconds", "answers_s", "most"),
    [
        pytest.param(0.9, 0.0, 0, id="mended before the first wait is over"),
        pytest.param(1.1, 0.0, 5, id="half of the wait of 2 s is the shortest"),
        pytest.param(2.9, 0.0, 5, id="the second wait is twice as long"),
        pytest.param(3.1, 0.0, 10, id="and then it may probe again"),
        pytest.param(8.0, 0.0, 15, id="after 1, 3 and 7 s"),
        pytest.param(15.5, 0.0, 25, id="from there every 4 s, the half of the longest"),
        pytest.param(20.0, 2.0, 20, id="a vendor that hangs: after 3, 7, 13 and 19 s"),
    ],
)
def test_an_open_breaker_lets_so_many_probes_through(seconds: float, answers_s: float, most: int) -> None:
    """`probes_most` returns how many probes can reach a failing vendor in this time, with the sandbox's breaker
    settings.
    """
    assert probes_most(seconds, answers_s) == most


def test_the_storm_leaves_out_what_it_says() -> None:
    """The storm draws from all drills except those in `NO_STORM`, and `dispatcher drill` lists each of these with
    its reason.
    """
    assert NO_STORM.keys() <= DRILLS.keys()
    assert {*STORM_OF} == {
        *("vendor-error", "vendor-hang", "vendor-flap", "all-vendors-down"),
        *("actor-kill", "actor-freeze", "supervisor-kill", "intake-kill", "redis-restart"),
    }
    listed = CliRunner().invoke(drill).output
    assert all(f"without {name}: {why}" in listed for name, why in NO_STORM.items())


def test_every_bar_is_of_a_drill_and_a_figure_there_is() -> None:
    """Each limit in `BARS` is about a drill and a figure that exist, and no two limits are about the same figure of a
    drill.

    A limit for a figure that does not exist would never be compared with a run.
    """
    assert {bar.drill for bar in BARS} <= {*DRILLS, STORM}
    assert {bar.figure for bar in BARS} <= FIELDS.keys()
    assert len({(bar.drill, bar.figure) for bar in BARS}) == len(BARS)


@pytest.mark.parametrize(
    ("bar", "worst", "words"),
    [
        (Bar("x", "gap s", 3), 3.0, "x: gap s 3, at most 3: met"),
        (Bar("x", "gap s", 3), 3.1, "x: gap s 3.1, at most 3: MISSED"),
        (Bar("x", "availability %", 99.9, least=True), 99.9, "x: availability % 99.9, at least 99.9: met"),
        (Bar("x", "availability %", 99.9, least=True), 99.89, "x: availability % 99.89, at least 99.9: MISSED"),
    ],
)
def test_a_bar_says_whether_the_worst_run_met_it(bar: Bar, worst: float, words: str) -> None:
    assert bar.told(worst) == words


def test_the_worst_of_all_runs_is_held_to_the_bars() -> None:
    """The worst run is compared with each bar. For a share, the worst is the smallest.

    A figure that no run has is not compared.
    """
    runs = [
        {**dict.fromkeys(FIELDS), "switches a minute": 1, "kept up %": 93.0},
        {**dict.fromkeys(FIELDS), "switches a minute": 3, "kept up %": 99.0},
    ]
    found = measured("vendor-half", summary(runs))
    assert [(bar.figure, worst, bar.met(worst)) for bar, worst in found] == [
        ("switches a minute", 3, False),
        ("kept up %", 93.0, False),
    ]
    assert measured("vendor-error", summary(runs)) == []
    assert bar_of("vendor-error", "gap s") is None
