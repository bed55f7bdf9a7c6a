"""Checks where a notification goes next: each outcome gives exactly one place, and under `hold` nothing is sent
twice.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.life.decide import (
    CRASHES_MAX,
    Dead,
    Hold,
    Move,
    Retry,
    Settle,
    Situation,
    decide_adopted,
    decide_after,
    decide_before,
    decide_mailbox,
    decide_refused,
)
from dispatcher.core.life.notification import Attempt, Notification, State, Trail
from dispatcher.core.life.outcome import Meaning, Outcome, OutcomeKind, Scope, outcome_of
from dispatcher.core.life.retry import RetryPolicy
from tests.unit.notifications import CHAIN, NOW_MS, notification

POLICY = RetryPolicy(attempts_max=8, base_s=1.0, cap_s=300.0, hold_s=3600.0)
ATTEMPT = Attempt(NOW_MS, "a", "failed", "http_500", 12)


def after(n: Notification, outcome: Outcome, usable: set[str], chance: float = 0.5, *, vendor: str = "a") -> Any:
    return decide_after(n, outcome, ATTEMPT, situation(vendor, usable, chance))


def situation(vendor: str, usable: set[str], chance: float = 0.5, epoch: int = 0) -> Situation:
    return Situation(vendor, usable.__contains__, POLICY, NOW_MS, chance, epoch)


names = st.lists(st.sampled_from("abcd"), unique=True, min_size=1).map(tuple)
outcomes = st.builds(
    Outcome,
    kind=st.sampled_from([k for k in OutcomeKind if k is not OutcomeKind.NOT_PERMITTED]),
    reason=st.just("r"),
    retry_after_s=st.one_of(st.none(), st.floats(0, 1e6)),
    scope=st.sampled_from(Scope),
)
notifications = st.builds(
    notification,
    chain=names,
    trail=st.builds(
        Trail,
        tried=st.lists(st.sampled_from("abcd"), unique=True).map(tuple),
        refused=st.lists(st.sampled_from("abcd"), unique=True).map(tuple),
        waits=st.integers(0, 10_000),
        refusals=st.integers(0, 10_000),
    ),
    attempts=st.integers(0, 10_000),
    crashes=st.integers(0, 5),
    generation=st.integers(0, 3),
    on_unknown=st.sampled_from(["resend", "hold"]),
    expires_ms=st.integers(NOW_MS - 1000, NOW_MS + 86_400_000),
    moved_epoch=st.integers(0, 3),
)
usables = st.sets(st.sampled_from("abcd"))
chances = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param(Outcome.accepted("v-1"), Settle(ATTEMPT, 1), id="accepted is settled"),
        pytest.param(Outcome.rejected("bad_number"), Dead("bad_number", ATTEMPT, 0), id="rejected is dead"),
        pytest.param(
            Outcome.failed("http_502"), Move("b", Trail(("a",)), ATTEMPT, 0), id="failed moves on, and cannot repeat"
        ),
        pytest.param(
            outcome_of("x", Meaning.UNLISTED),
            Move("b", Trail(("a",), ("a",), ("a",)), ATTEMPT, 0),
            id="an unlisted refusal moves on, in doubt",
        ),
        pytest.param(
            Outcome.deferred("smtp_451"), Move("b", Trail(("a",), ("a",)), ATTEMPT, 0), id="deferred goes elsewhere"
        ),
        pytest.param(
            outcome_of("x", Meaning.ROUTE), Move("b", Trail(("a",), ("a",)), ATTEMPT, 0), id="a route refused moves on"
        ),
        pytest.param(Outcome.unknown("timeout"), Move("b", Trail(("a",)), ATTEMPT, 1), id="unknown goes on as failed"),
        pytest.param(
            Outcome.throttled("http_429", 7.0), Retry(7000, Trail(), ATTEMPT, 0), id="throttled burns no attempt"
        ),
        pytest.param(
            Outcome.failed("http_401", scope=Scope.ACCOUNT),
            Move("b", Trail(("a",)), ATTEMPT, 0),
            id="an account's failure burns no attempt",
        ),
    ],
)
def test_each_outcome_has_its_place(outcome: Outcome, expected: Any) -> None:
    """Each outcome of a first attempt gives the decision of this table while all vendors are healthy."""
    assert after(notification(), outcome, set(CHAIN)) == expected


@given(notifications, outcomes, usables, chances, st.sampled_from("abcd"))
def test_every_decision_is_exactly_one_place(
    n: Notification, outcome: Outcome, usable: set[str], chance: float, vendor: str
) -> None:
    """For any notification and outcome, a decision sends the notification to exactly one place.

    A move leads to another vendor of the chain, which is usable and was not tried. A wait ends before the notification
    expires.
    """
    decision = after(n, outcome, usable - {vendor}, chance, vendor=vendor)
    match decision:
        case Move():
            assert decision.vendor in n.chain
            assert decision.vendor in usable - {vendor, *n.tried}
            assert vendor in decision.trail.tried
        case Retry():
            assert 0 < decision.wait_ms < n.expires_ms - NOW_MS
        case Dead():
            assert decision.reason
        case Hold():
            assert decision.wait_ms <= n.expires_ms - NOW_MS
        case _:
            assert isinstance(decision, Settle)
    assert n.attempts <= decision.attempts <= n.attempts + 1


@given(notifications, usables, chances)
def test_unknown_under_hold_is_never_sent_again(n: Notification, usable: set[str], chance: float) -> None:
    """Under `hold` an unknown outcome always makes a notification held, whatever its other fields are."""
    held = dataclasses.replace(n, on_unknown="hold")
    assert isinstance(after(held, Outcome.unknown("timeout_read"), usable, chance), Hold)


@given(notifications, outcomes, usables, chances)
def test_the_budget_of_attempts_is_kept(n: Notification, outcome: Outcome, usable: set[str], chance: float) -> None:
    """If attempts are left before a call, a move leaves at least one for the next vendor."""
    decision = after(dataclasses.replace(n, attempts=n.attempts % POLICY.attempts_max), outcome, usable, chance)
    if isinstance(decision, Move):
        assert decision.attempts < POLICY.attempts_max


def test_the_last_attempt_is_a_dead_letter() -> None:
    """The eighth of eight attempts with an unknown outcome makes a dead letter, because each attempt may have been
    delivered.
    """
    decision = after(notification(attempts=7), Outcome.unknown("http_500"), set(CHAIN))
    assert decision == Dead("attempts_exhausted", ATTEMPT, 8)


@given(notifications, outcomes, usables, chances)
def test_what_surely_sent_nothing_spends_no_attempt(
    n: Notification, outcome: Outcome, usable: set[str], chance: float
) -> None:
    """Only an unknown and an accepted outcome use up an attempt of the budget."""
    spent = after(n, outcome, usable, chance).attempts - n.attempts
    assert spent == (outcome.kind in (OutcomeKind.UNKNOWN, OutcomeKind.ACCEPTED))


@given(notifications, outcomes, usables, chances)
def test_a_refusal_that_is_not_final_is_no_dead_letter_before_its_time(
    n: Notification, outcome: Outcome, usable: set[str], chance: float
) -> None:
    """While attempts and time to live are left, only a rejected outcome makes a dead letter."""
    expires_ms = max(n.expires_ms, NOW_MS + 2000)
    n = dataclasses.replace(n, attempts=n.attempts % (POLICY.attempts_max - 1), expires_ms=expires_ms)
    decision = after(n, outcome, usable, chance)
    assert not isinstance(decision, Dead) or outcome.kind is OutcomeKind.REJECTED


@pytest.mark.parametrize("outcome", [Outcome.throttled("http_429", 60.0), Outcome.failed("x"), Outcome.deferred("x")])
def test_the_last_wait_leaves_time_for_one_more_try(outcome: Outcome) -> None:
    """A wait that would outlast the time to live is shortened.

    With less than two seconds left the notification becomes a dead letter.
    """
    n = notification(chain=("a",), trail=Trail(waits=9), expires_ms=NOW_MS + 5000)
    assert after(n, outcome, set(), 0.9).wait_ms == 4500
    late = notification(chain=("a",), trail=Trail(waits=9), expires_ms=NOW_MS + 1900)
    assert isinstance(after(late, outcome, set(), 0.9), Dead)


def test_a_throttled_message_goes_elsewhere_when_its_time_would_end_first() -> None:
    """If a vendor asks for a longer wait than the message's time to live, the message moves to the next vendor."""
    n = notification(expires_ms=NOW_MS + 5000)
    assert after(n, Outcome.throttled("http_429", 60.0), set(CHAIN)) == Move("b", Trail(("a",)), ATTEMPT, 0)


@pytest.mark.parametrize("outcome", [Outcome.deferred("smtp_451"), outcome_of("x", Meaning.UNLISTED)])
def test_refused_by_all_waits_minutes_then_hours(outcome: Outcome) -> None:
    """After all vendors refused a message, its waits grow from one minute to one hour, as greylisting and RFC 5321
    need. Earlier waits after failures do not matter.
    """
    waits = []
    for times in range(9):
        trail = Trail(("b", "c"), ("b", "c"), waits=4, refusals=times)
        decision = after(notification(trail=trail), outcome, set(CHAIN), 0.0)
        assert (decision.reason, decision.trail) == ("refused_by_all", Trail(waits=4, refusals=times + 1))
        waits.append(decision.wait_ms // 1000)
    assert waits == [60, 120, 300, 600, 1200, 1800, 3600, 3600, 3600]


def test_refused_by_some_and_failed_at_others_is_no_refusal_by_all() -> None:
    """Some vendors refused a message, and at another vendor it failed. The message then waits only about a second.

    The wait after a refusal by all vendors is longer. Here the vendor at which the message failed may still accept it.
    """
    n = notification(trail=Trail(("b", "c"), ("b",)))
    decision = after(n, Outcome.deferred("smtp_451"), set(CHAIN), 0.9)
    assert (decision.reason, decision.wait_ms) == ("", 900)


def test_its_death_says_that_all_refused_it() -> None:
    """A notification that expires after all vendors refused it is a dead letter with the reason `refused_by_all`,
    so that operators can filter by it.
    """
    trail = Trail(refusals=3)
    assert decide_before(notification(trail=trail, expires_ms=NOW_MS), NOW_MS, POLICY) == Dead(
        "refused_by_all", None, 0
    )


def test_a_round_ends_when_all_were_tried() -> None:
    """After the last vendor of the chain failed, the next round begins with no vendor tried, and each round waits
    longer.
    """
    first = after(notification(trail=Trail(("a", "b"), waits=2)), Outcome.failed("x"), set(CHAIN), 0.999, vendor="c")
    later = after(notification(trail=Trail(("a", "b"), waits=5)), Outcome.failed("x"), set(CHAIN), 0.999, vendor="c")
    assert (first.trail, later.trail) == (Trail(waits=3), Trail(waits=6))
    assert later.wait_ms > 4 * first.wait_ms


def test_a_round_does_not_wait_for_a_vendor_that_is_down() -> None:
    """Vendor a fails once while vendor b is down. The message goes to a again, and does not wait for b."""
    n = notification(chain=("a", "b"))
    decision = after(n, Outcome.failed("http_500"), set())
    assert isinstance(decision, Retry)
    a, none, known = {"a"}.__contains__, set().__contains__, set(CHAIN).__contains__
    assert decide_mailbox(n.chain, decision.trail.tried, a, none, known=known) == "a"
    refused = decide_refused(notification(chain=("a", "b"), tried=("a",)), situation("b", {"a"}, epoch=1))
    assert isinstance(refused, Retry)
    assert decide_mailbox(n.chain, refused.trail.tried, a, none, known=known) == "a"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, None, id="nothing ends it"),
        pytest.param({"expires_ms": NOW_MS}, Dead("expired", None, 0), id="its time is over"),
        pytest.param({"crashes": CRASHES_MAX}, Dead("poison", None, 0), id="it kills its actors"),
        pytest.param({"crashes": CRASHES_MAX - 1}, None, id="a bystander"),
        pytest.param(
            {"state": State.STARTED, "on_unknown": "hold", "attempts": 2},
            Hold(3_600_000, None, 2),
            id="started under hold and found again: maybe sent",
        ),
        pytest.param(
            {"state": State.STARTED, "on_unknown": "hold", "expires_ms": NOW_MS - 1},
            Hold(-1, None, 0),
            id="maybe sent is not merely expired",
        ),
    ],
)
def test_what_ends_it_before_a_call(changes: dict[str, Any], expected: Any) -> None:
    """`decide_before` makes a claimed notification a dead letter if it has expired or has crashed too many actors.

    It holds a notification that was maybe sent. Otherwise it returns None.
    """
    assert decide_before(notification(**changes), NOW_MS, POLICY) == expected


@given(notifications, usables, st.integers(0, 3), chances)
def test_a_refusal_costs_no_attempt(n: Notification, usable: set[str], epoch: int, chance: float) -> None:
    """A notification that this actor may not send keeps all its attempts.

    The notification moves at most once for each epoch of the plan, and otherwise waits.
    """
    decision = decide_refused(n, situation("a", usable, chance, epoch))
    assert decision is not None
    assert decision.attempts == n.attempts
    if isinstance(decision, Move):
        assert n.moved_epoch != epoch == decision.epoch
        assert decision.vendor != "a"
        assert decision.trail == n.trail
    else:
        assert isinstance(decision, (Retry, Dead))


@pytest.mark.parametrize(
    ("chain", "tried", "sends"),
    [
        pytest.param(("b", "a"), (), True, id="named and untried"),
        pytest.param(("b", "a"), ("a",), False, id="tried in this round"),
        pytest.param(("b", "c"), (), False, id="not in its chain"),
    ],
)
def test_an_adopter_sends_only_what_names_it(chain: tuple[str, ...], tried: tuple[str, ...], sends: bool) -> None:
    """A vendor that adopted a mailbox sends only those notifications that have the vendor in their chain and have
    not tried it. All others are moved or put off.
    """
    n = notification(chain=chain, tried=tried)
    assert (decide_adopted(n, situation("a", {"c"}, epoch=1)) is None) is sends


@pytest.mark.parametrize(
    ("tried", "usable", "recovering", "known", "expected"),
    [
        pytest.param((), "abc", "", "abc", "a", id="the first"),
        pytest.param(("a",), "abc", "", "abc", "b", id="the first untried"),
        pytest.param((), "bc", "", "abc", "b", id="the first usable"),
        pytest.param(("b",), "b", "", "abc", "b", id="a usable one that was tried before one that is down"),
        pytest.param(("b",), "b", "a", "abc", "b", id="a usable one that was tried before one that recovers"),
        pytest.param(("b",), "", "b", "abc", "b", id="one that recovers before one that is down"),
        pytest.param(("a",), "", "", "abc", "b", id="none usable: the first untried"),
        pytest.param(("a", "b", "c"), "", "", "abc", "a", id="none usable, all tried: the first"),
        pytest.param((), "abc", "", "bc", "b", id="a vendor that was removed is skipped"),
        pytest.param((), "abc", "", "", None, id="no vendor is left"),
    ],
)
def test_the_mailbox_of_what_is_due(
    tried: tuple[str, ...], usable: str, recovering: str, known: str, expected: str | None
) -> None:
    """A due notification goes to the mailbox that the current plan gives, even if it waits because of an
    earlier plan.
    """
    found = decide_mailbox(CHAIN, tried, usable.__contains__, recovering.__contains__, known=known.__contains__)
    assert found == expected


def test_with_all_vendors_down_no_wait_is_long() -> None:
    """While all vendors are down, a message waits at most 15 s for its next try. So a vendor that works again soon gets
    a message as a probe.

    If another vendor works, the wait is longer.
    """
    n = notification(chain=("a", "b"), trail=Trail(("b",), waits=20))
    down = after(n, Outcome.failed("http_503"), set(), chance=0.999)
    assert isinstance(down, Retry) and 14_000 < down.wait_ms <= 15_000
    works = after(n, Outcome.failed("http_503"), {"b"}, chance=0.999)
    assert isinstance(works, Retry) and works.wait_ms > 200_000
