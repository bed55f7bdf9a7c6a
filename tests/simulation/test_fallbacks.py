"""Fallbacks to another channel while everything fails: of each notification and its fallback, at most one succeeds.

The world is that of tests/simulation/test_simulation.py, but with two vendors for SMS and one for mail. Each order is
an SMS with a mail as its fallback, for one or several recipients.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar
from unittest import mock

import pytest

from dispatcher.adapters.memory import fallbacks, store
from dispatcher.core.life.fallback import Fate, First, decide_fallback
from dispatcher.core.life.notification import notification_id
from dispatcher.ports import Begun
from tests.simulation.cast import Order, Sent
from tests.simulation.checker import Checker
from tests.simulation.run import run, stage
from tests.simulation.scene import SETTINGS, World

SEEDS = 120
SEEDS_MAX = 600
"""The number of seeds within which each mutation is found."""

ENDED = {("settled", "skipped"), ("dead", "settled"), ("dead", "dead"), ("cancelled", "settled"), ("cancelled", "dead")}
"""How a first notification and its fallback may end. A first one is `cancelled` if its fallback began instead."""


class PairChecker(Checker):
    """A checker that also judges each pair of a first notification and its fallback."""

    def notifications_of(self, body: Mapping[str, Any]) -> int:
        return 2 * len(body["recipients"])

    def on_send(self, sent: Sent) -> None:
        super().on_send(sent)
        first = self._first_of(sent.nid)
        if first is not None:
            state = self.world.cell.found(first)[1].state
            if state not in ("dead", "cancelled"):
                self.violate(f"{sent.nid} is sent while {first} is {state}")

    def _first_of(self, nid: str) -> str | None:
        trigger_id, _, index = nid.rpartition(".")
        follows = self.world.cell.found(nid)[0].trigger.notifications[int(index)].follows
        return None if follows is None else notification_id(trigger_id, follows.first)

    def at_rest(self) -> bool:
        """Return True if nothing will change any more. A held message still ends at its deadline."""
        return super().at_rest() and all(note.state != "held" for _, _, note in self._notes())

    def judge(self) -> None:
        super().judge()
        states = {nid: note.state for nid, _, note in self._notes()}
        delivered = Counter(sent.nid for sent in self.world.sent if sent.kind == "accepted" and sent.answered)
        for nid in states:
            first = self._first_of(nid)
            if first is None:
                continue
            pair = states[first], states[nid]
            if pair not in ENDED:
                self.violate(f"{first} and its fallback ended as {pair}")
            if pair[1] == "skipped" and any(sent.nid == nid for sent in self.world.sent):
                self.violate(f"{nid} is skipped, and was sent")
            if self.world.faultless and delivered[first] + delivered[nid] != 1:
                self.violate(f"without a fault, {first} and {nid} are {delivered[first] + delivered[nid]} messages")


class PairWorld(World):
    """A world whose orders have a fallback.

    Some fallbacks begin after a time, and all orders expire after 3 s, so that all of them end.
    """

    SETTINGS: ClassVar[dict[str, Any]] = {
        **SETTINGS,
        "vendors": {
            **{name: SETTINGS["vendors"][name] for name in "ab"},
            "c": {
                **SETTINGS["vendors"]["c"],
                "adapter": "sendgrid",
                "channel": "email",
                "breaker": {**SETTINGS["vendors"]["c"]["breaker"], "per": "vendor"},
            },
        },
        "routes": [{"channel": "sms", "chain": ["a", "b"]}, {"channel": "email", "chain": ["c"]}],
        "limits": {"recipient_caps": [{"channel": "sms", "max": 1000, "per_s": 2}]},
    }

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.checker: Checker = PairChecker(self)

    def _write_orders(self) -> None:
        dice = self.dice
        for n in range(dice.randrange(4, 8)):
            mail: dict[str, Any] = {"channel": "email", "content": {"subject": "S", "text": "fallback"}}
            if dice.random() < 0.7:
                mail["after_s"] = dice.choice((1, 1, 2))
            body = {
                "event": "paid",
                "recipients": [
                    {"phone": f"+4915112345{n}{who:02}", "email": f"c{n}-{who}@example.com"}
                    for who in range(dice.choice((1, 1, 3)))
                ],
                "priority": dice.choice(("high", "normal", "bulk")),
                "on_unknown": dice.choice(("resend", "resend", "hold")),
                "expires_in_s": 3,
                "notifications": [{"channel": "sms", "content": {"text": "first"}, "fallback": mail}],
            }
            key = f"order-{n}" if dice.random() < 0.8 else None
            self.orders.append(Order(n, body, key, dice.choice((1, 3, 6))))


def play(seed: int, crash: tuple[str, int] | None = None) -> Any:
    return run(seed, crash=crash, world_type=PairWorld)


@pytest.fixture(autouse=True)
def staged() -> Iterator[None]:
    with stage():
        yield


def test_one_success_or_none_whatever_fails() -> None:
    """With kills, freezes, lost replies and hanging vendors, no seed has a violation.

    Three things all happen often: a fallback is skipped, a first notification is cancelled because its fallback begins,
    and a notification dies.
    """
    results = {seed: play(seed) for seed in range(SEEDS)}
    assert {seed: result.violations[0] for seed, result in results.items() if result.violations} == {}
    seen = sum((result.counts for result in results.values()), Counter[str]())
    assert min(seen["skipped"], seen["cancelled"], seen["dead"]) > 20


@pytest.mark.parametrize("kind", ["kill", "freeze"])
def test_every_await_may_be_the_last(kind: str) -> None:
    """The first actor that claims is killed, or is frozen until it is declared dead. Each of forty runs does so one
    step later in that actor's work.

    No run has a violation.
    """
    for step in range(40):
        result = play(3, crash=(kind, step))
        assert result.crashed
        assert result.violations == [], (kind, step)


def _blind(first: First, wait_for: Any, is_late: bool) -> Fate:
    """Decide about a fallback as if no actor had claimed the first notification."""
    return decide_fallback(dataclasses.replace(first, claimed=False), wait_for, is_late)


def _sent_anyway(first: First, wait_for: Any, is_late: bool) -> Fate:
    """Decide about a fallback, but begin it even if the first notification has succeeded."""
    fate = decide_fallback(first, wait_for, is_late)
    return Fate.BEGIN if first.state.value == "settled" else fate


def _impatient(first: First, wait_for: Any, is_late: bool) -> Fate:
    """Decide about a fallback, but begin it after its `after_s` even if the first notification is held."""
    return Fate.BEGIN if first.state.value == "held" and is_late else decide_fallback(first, wait_for, is_late)


def _rules(rules: Any) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    return lambda: mock.patch.object(fallbacks, "decide_fallback", rules)


MUTATIONS = {
    "a claim is not seen": _rules(_blind),
    "success is not seen": _rules(_sent_anyway),
    "a held one is not waited for": _rules(_impatient),
    "the overtaken one stays": lambda: mock.patch.object(fallbacks, "WAITING", frozenset()),
    "nobody decides": lambda: mock.patch.object(store, "begin_fallback", lambda *_: Begun.GONE),
}


FOUND_BY = {"a claim is not seen": (172, 178), "a held one is not waited for": (23, 39, 52)}
"""The first seeds that find a mutation, for mutations that only a late seed finds. They are tried before all others."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_rule_is_found(name: str) -> None:
    """With each broken rule, some seed has a violation, which shows that the simulation can fail."""
    with MUTATIONS[name]():
        assert any(play(seed).violations for seed in (*FOUND_BY.get(name, ()), *range(SEEDS_MAX))), name
