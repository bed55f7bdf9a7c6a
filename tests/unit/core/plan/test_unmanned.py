"""A vendor without an actor for too long is unmanned, with a reason, and another vendor gets its work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.unmanned import LOOK_S_MAX, NO_CPU, NO_START, Vacancies, decide_unmanned, sentences
from dispatcher.core.plan.values import Override, Plan
from tests.unit.core.plan.plans import config, planned, report

FULL, ROOM, UNKNOWN = {"n": 0.0, "m": 0.2}, {"n": 0.0, "m": 0.25}, dict[str, float]()


@pytest.mark.parametrize(
    ("seconds", "free", "before", "reason"),
    [
        pytest.param(29.9, FULL, None, None, id="it may be starting: a cluster that just fits is full meanwhile"),
        pytest.param(30.0, FULL, None, NO_CPU, id="no machine has room"),
        pytest.param(59.9, ROOM, None, None, id="room on one machine"),
        pytest.param(59.9, UNKNOWN, None, None, id="one machine, or Ray does not tell"),
        pytest.param(60.0, ROOM, None, NO_START, id="room, and no start"),
        pytest.param(60.0, UNKNOWN, None, NO_START, id="no start on one machine"),
        pytest.param(90.0, FULL, NO_START, NO_CPU, id="the CPUs were taken meanwhile"),
        pytest.param(40.0, ROOM, NO_CPU, NO_START, id="a machine came, and the actor is starting"),
        pytest.param(40.0, UNKNOWN, NO_CPU, NO_CPU, id="Ray's control plane is away"),
        pytest.param(0.0, FULL, NO_CPU, NO_CPU, id="a new supervisor goes on"),
    ],
)
def test_a_vendor_is_unmanned_after_a_time_and_with_a_reason(
    seconds: float, free: dict[str, float], before: str | None, reason: str | None
) -> None:
    """A vendor is unmanned after 30 s without a free CPU and after 60 s in any case.

    It stays so until it has an actor.
    """
    was = {} if before is None else {"a": before, "b": NO_START}
    assert decide_unmanned({"a": seconds}, free, 0.25, was) == ({} if reason is None else {"a": reason})


def test_only_time_in_which_somebody_looked_counts() -> None:
    """A vendor's time without an actor begins with the first look, or with the look that misses its actor. A gap
    between two looks counts for at most `LOOK_S_MAX` seconds.
    """
    vacancies = Vacancies({"a", "b"})
    vacancies.look({"b"}, 100.0)
    assert vacancies.without_actor_s({"b"}) == {"a": 0.0}
    vacancies.look({"b"}, 101.0)
    vacancies.look((), 102.0)
    assert vacancies.without_actor_s(()) == {"a": 2.0, "b": 1.0}
    vacancies.look((), 500.0)
    assert vacancies.without_actor_s(()) == {"a": 2.0 + LOOK_S_MAX, "b": 1.0 + LOOK_S_MAX}
    assert vacancies.without_actor_s({"a"}) == {"b": 1.0 + LOOK_S_MAX}, "a report tells of an actor before the look"
    vacancies.look({"a"}, 501.0)
    vacancies.look((), 501.5)
    assert vacancies.without_actor_s(()) == {"a": 0.5, "b": 4.5}


def test_a_vendor_that_had_an_actor_is_absent_at_once() -> None:
    """A vendor whose actor is gone is absent. A vendor that never had an actor is not, because it may be starting."""
    vacancies = Vacancies({"a", "b"})
    vacancies.look({"b"}, 1.0)
    assert vacancies.absent({"b"}) == set()
    assert vacancies.absent(()) == {"b"}


def test_the_fallback_gets_the_work_of_an_unmanned_vendor_until_it_has_an_actor() -> None:
    """A vendor that never had an actor counts as working first. As an unmanned vendor it gets nothing new, and its
    fallback drains its mailbox. With its first report it gets its work back.
    """
    first = planned(report("b"), config=config("a", "b"))
    assert first.vendors["a"].state == "closed"
    lacking = decide(Survey([report("b")], unmanned={"a": NO_CPU, "old": NO_CPU}), config("a", "b"), first, 2000)
    assert (lacking.vendors["a"].state, lacking.accepts_new("a"), lacking.usable("a")) == ("absent", False, False)
    assert lacking.vendors["b"].drains == ("b", "a")
    assert lacking.unmanned == {"a": NO_CPU}
    assert lacking.reason == "; ".join(["a closed → absent", "b drains b, a", *sentences({"a": NO_CPU})])
    later = decide(Survey([report("b")], unmanned={"a": NO_START}), config("a", "b"), lacking, 3000)
    assert (later.reason, later.same_assignment(lacking)) == (*sentences({"a": NO_START}), False)
    there = decide(Survey([report("a"), report("b")]), config("a", "b"), later, 4000)
    assert (there.vendors["a"].state, there.vendors["b"].drains, there.unmanned) == ("closed", ("b",), {})
    assert there.reason.endswith("a has an actor")


def test_without_a_fallback_the_mailbox_says_that_nobody_drains_it() -> None:
    alone = decide(Survey(unmanned={"a": NO_CPU}), config("a"), Plan(), 1000)
    assert alone.undrained == {"a": "absent, no healthy fallback"}


def test_an_operator_cannot_close_an_unmanned_vendor() -> None:
    """An operator's `close` leaves it absent, because nobody could send. An operator's `open` is obeyed."""
    for word, state in (("close", "absent"), ("open", "forced_open")):
        survey = Survey([report("b")], overrides={"a": Override("a", word)}, unmanned={"a": NO_CPU})
        assert decide(survey, config("a", "b"), Plan(), 1000).vendors["a"].state == state


def test_a_plan_of_an_older_version_has_no_unmanned_vendors() -> None:
    """The field is read if a plan has it, and a plan without it is read too."""
    plan = replace(planned(report("a"), config=config("a")), unmanned={"a": NO_CPU})
    assert Plan.from_dict(plan.to_dict()).unmanned == {"a": NO_CPU}
    older = {name: value for name, value in plan.to_dict().items() if name != "unmanned"}
    assert Plan.from_dict(older).unmanned == {}


def test_vendors_with_one_reason_are_one_sentence() -> None:
    said = list(sentences({"a": NO_CPU, "b": NO_START, "c": NO_CPU, "d": "of a newer version"}))
    assert [text.partition(":")[0] for text in said] == ["a, c", "b", "d"]
    assert said[2] == "d: of a newer version"
