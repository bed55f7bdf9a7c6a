"""Checks recipient caps: which rules apply, which notifications share a count, and when there is room."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.config.settings import RecipientCap
from dispatcher.core.accepting.caps import Cap, caps_of, has_room

PHONE = "+4915112345678"


def rule(**changes: Any) -> RecipientCap:
    return RecipientCap(**{"channel": "sms", "max": 3, "per_s": 60, **changes})


def key(*rules: RecipientCap, **changes: str) -> Cap:
    fields = {"tenant": "shop", "event": "paid", "channel": "sms", "priority": "normal", "address": PHONE, **changes}
    (found,) = caps_of(rules, **fields)
    return found


@pytest.mark.parametrize(
    ("changes", "applies"),
    [
        ({}, True),
        ({"channel": "email"}, False),
        ({"priority": ["high"]}, False),
        ({"priority": ["bulk", "normal"]}, True),
        ({"event": ["login.code"]}, False),
        ({"event": ["login.code", "paid"], "priority": ["normal"]}, True),
    ],
)
def test_a_rule_applies_by_channel_priority_and_event(changes: dict[str, Any], applies: bool) -> None:
    """A rule applies to its own channel.

    A rule that lists no priority applies to every priority, and likewise for events.
    """
    assert bool(caps_of([rule(**changes)], "shop", "paid", "sms", priority="normal", address=PHONE)) is applies


def test_a_rule_without_priorities_holds_for_high_too() -> None:
    """A rule without priorities also counts messages with the priority `high`, even if another rule is for `high`
    alone.

    Fraudsters make a shop send codes, and codes have the priority `high`.
    """
    assert (
        len(caps_of([rule(), rule(priority=["high"], max=20)], "shop", "code", "sms", priority="high", address=PHONE))
        == 2
    )


def test_a_count_belongs_to_tenant_recipient_and_rule() -> None:
    """A recipient cap counts notifications together if tenant, recipient and rule are the same, whatever their event
    and priority are.

    If only the rule's maximum changes, the count goes on.
    """
    mine = key(rule())
    assert mine == Cap(mine.key, 3, 60_000)
    assert key(rule(), event="shipped", priority="high") == mine
    assert key(rule(max=4)).key == mine.key
    assert key(rule(priority=["high", "normal"])).key == key(rule(priority=["normal", "high"])).key
    others = [
        key(rule(), tenant="other"),
        key(rule(), address="+4915112345679"),
        key(rule(per_s=61)),
        key(rule(priority=["normal"])),
        key(rule(event=["paid"])),
        key(rule(channel="email"), channel="email"),
    ]
    assert len({mine.key, *(other.key for other in others)}) == 7


def test_a_key_does_not_show_the_address() -> None:
    """A cap's key is a hash of 32 hexadecimal digits that does not depend on the case of an e-mail address."""
    mail = {"channel": "email", "address": "Ada@Example.com"}
    found = key(rule(channel="email"), **mail)
    assert re.fullmatch("[0-9a-f]{32}", found.key)
    assert key(rule(channel="email"), **{**mail, "address": "ada@example.com"}) == found


@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 5), st.integers(1, 50), st.integers(0, 450))
def test_no_stretch_of_the_windows_length_holds_more(arrivals: list[int], most: int, per_ms: int, begin: int) -> None:
    """In any stretch of time that is as long as the window, at most `most` notifications pass.

    A notification is stopped only if there would be more.
    """
    through: list[int] = []
    for at_ms in sorted(arrivals):
        recent = sum(at_ms - then_ms < per_ms for then_ms in through)
        assert has_room(through[-most:], most, per_ms, at_ms) == (recent < most)
        if recent < most:
            through.append(at_ms)
    assert sum(begin <= then_ms < begin + per_ms for then_ms in through) <= most
