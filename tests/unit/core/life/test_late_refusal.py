"""Checks what follows if a vendor accepts a message and refuses it later by a receipt: when another vendor tries,
and what counts as evidence.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.life.decide import Situation
from dispatcher.core.life.late_refusal import (
    EVIDENCE_MS,
    LastCall,
    LateRefusal,
    Reopen,
    decide_late_refusal,
    evidence_of,
)
from dispatcher.core.life.notification import Notification, State, Trail
from dispatcher.core.life.outcome import Meaning, Scope, outcome_of
from dispatcher.core.life.retry import RetryPolicy

NOW_MS = 1_000_000
LIFE_MS = 3_600_000
NOTE = Notification(
    *("0-a.0", "shop", "e", "sms", "+15005550006", ("a", "b"), "normal", NOW_MS, NOW_MS + LIFE_MS, "resend", {}),
    attempts=1,
    state=State.SETTLED,
)
LAST = LastCall(NOTE, "a", "SM1", NOW_MS)
MEANINGS = st.sampled_from(list(Meaning))


def refusal(means: Meaning = Meaning.UNLISTED, *, certain: bool = True, message_id: str = "SM1") -> LateRefusal:
    return LateRefusal(outcome_of("twilio_30007", means), certain, message_id)


def at(*usable: str, vendor: str = "a", now_ms: int = NOW_MS) -> Situation:
    return Situation(vendor, usable.__contains__, RetryPolicy(), now_ms, 0.0)


def changed(last: LastCall = LAST, **changes: object) -> LastCall:
    return replace(last, notification=replace(last.notification, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("means", Meaning)
def test_only_a_refusal_that_is_not_final_moves_on(means: Meaning) -> None:
    """A receipt refuses a message that the vendor had accepted. If its word is final or of unknown meaning, nothing is
    sent again.

    After any other word, the next vendor gets the message.
    """
    how = decide_late_refusal(LAST, refusal(means), at("a", "b"))
    assert (how is None) == (means in (Meaning.FINAL, Meaning.UNKNOWN))
    if how is not None:
        assert (how.wait_ms, how.trail.tried, how.trail.refused) == (1, ("a",), ("a",))
        assert how.trail.doubted == (("a",) if means in (Meaning.UNLISTED, Meaning.VENDOR) else ())


def test_without_another_vendor_it_waits_longer_each_time() -> None:
    """A receipt refuses a message, and no other vendor is usable. The message waits at least a minute, and longer after
    each further refusal.

    When its attempts are used up, it is not sent again.
    """
    waits = []
    for attempts in range(1, 9):
        how = decide_late_refusal(changed(chain=("a",), attempts=attempts), refusal(), at("a"))
        waits.append(None if how is None else how.wait_ms)
    assert waits[7] is None, "each acceptance costs an attempt, and eight are the budget"
    told = [wait for wait in waits if wait is not None]
    assert told == sorted(told) and told[0] >= 60_000
    how = decide_late_refusal(LAST, refusal(), at("a"))
    assert how is not None and how.wait_ms >= 60_000 and how.trail == Trail(refusals=1)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (LAST, refusal(message_id="SM2")),
        (LAST, refusal(message_id="")),
        (replace(LAST, message_id=""), refusal(message_id="")),
        (replace(LAST, vendor="b"), refusal()),
        (replace(LAST, fallback=State.SETTLED), refusal()),
        (replace(LAST, fallback=State.DELAYED), refusal()),
        (changed(expires_ms=NOW_MS), refusal()),
        (changed(on_unknown="hold"), refusal(certain=False)),
    ],
    ids=["another", "unnamed", "both unnamed", "of a", "fallback sent", "fallback begun", "over", "hold"],
)
def test_what_must_not_be_sent_again_stays(last: LastCall, told: LateRefusal) -> None:
    """A receipt refuses a message. The message is not tried again if the receipt is about another call or another
    vendor, or, under `hold`, if the receipt is not certain.

    It is also not tried again if its fallback has begun or its time to live is over.
    """
    assert decide_late_refusal(last, told, at("a", "b")) is None


def test_hold_goes_on_after_a_certain_refusal() -> None:
    """Under `hold`, a receipt refuses a message and is certain that it did not go out. The message goes to the next
    vendor.

    This also holds for a held call without a message id. It is recognised by its vendor.
    """
    assert decide_late_refusal(changed(on_unknown="hold"), refusal(), at("a", "b")) is not None
    held = replace(changed(on_unknown="hold", state=State.HELD), message_id="")
    assert decide_late_refusal(held, refusal(), at("a", "b")) is not None
    assert decide_late_refusal(held, refusal(certain=False), at("a", "b")) is None
    assert decide_late_refusal(replace(held, vendor="b"), refusal(), at("a", "b")) is None


def test_the_ids_of_sendgrid_have_more_after_a_dot() -> None:
    """A SendGrid receipt matches if its id continues the stored id after a dot: `X-Message-Id: abc` comes back as
    `sg_message_id: abc.filter0176...`.
    """
    last = replace(LAST, message_id="abc")
    assert decide_late_refusal(last, refusal(message_id="abc.filter0176"), at("a", "b")) is not None
    assert decide_late_refusal(last, refusal(message_id="abcd.filter0176"), at("a", "b")) is None


@pytest.mark.parametrize("means", Meaning)
def test_the_account_and_a_country_are_evidence_while_they_are_new(means: Meaning) -> None:
    expected = {Meaning.ACCOUNT: Scope.ACCOUNT, Meaning.ROUTE: Scope.ROUTE}.get(means)
    assert evidence_of(LAST, refusal(means), "a", NOW_MS + EVIDENCE_MS) is expected
    assert evidence_of(LAST, refusal(means), "a", NOW_MS + EVIDENCE_MS + 1) is None
    assert evidence_of(LAST, refusal(means), "b", NOW_MS) is None
    assert evidence_of(LAST, refusal(means, message_id="SM2"), "a", NOW_MS) is None


@given(
    MEANINGS, st.booleans(), st.integers(0, 10_000), st.integers(-LIFE_MS, LIFE_MS * 2), st.sets(st.sampled_from("abc"))
)
def test_it_is_sent_again_only_within_its_life(
    means: Meaning, certain: bool, attempts: int, passed_ms: int, usable: set[str]
) -> None:
    """Whatever a refusing receipt says, a message is sent again only before its time to live is over and while attempts
    are left.
    """
    last = changed(attempts=attempts, chain=("a", "b", "c"))
    how = decide_late_refusal(last, refusal(means, certain=certain), at(*usable, now_ms=NOW_MS + passed_ms))
    if how is not None:
        assert isinstance(how, Reopen)
        assert 0 < how.wait_ms < LIFE_MS - passed_ms
        assert attempts < RetryPolicy().attempts_max
        assert usable & {"b", "c"} == set() or how.trail.tried == ("a",)
