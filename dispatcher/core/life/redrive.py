"""May a dead letter be tried again now, in which mailbox, and how fast?

Rules:

1. While every known vendor of its chain takes new work: at full pace, into the mailbox that today's plan would choose.
2. While one of them does not, but another one does or recovers: slowly. What is left carries the whole chain's traffic,
   or is just being tried with probes; a bulk redrive on top would bring it down again.
3. While none takes new work or recovers: refused, with the state of each. It would only wait and die again.
4. The pace is kept per mailbox, over all intake replicas and operators, by a budget in the store.
5. A dead letter `unknown` was maybe sent, under a policy that forbids a repeat: it is skipped unless it is named, by
   its id or by that reason.
6. A sweep ends with what was dead when it began: a letter that dies again meanwhile is not tried a second time by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.core.life.decide import decide_mailbox
from dispatcher.core.life.notification import DeadLetter, DeadLetterFilter, DeadPosition
from dispatcher.core.plan.values import Plan

_CURSOR = re.compile(r"(\d{1,15})\.(\d{1,15})\.([a-z0-9.-]{0,80})")


@dataclass(frozen=True, slots=True)
class Go:
    """Redrive into `mailbox`; `slowly` when a vendor of the chain does not take new work."""

    mailbox: str
    slowly: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Leave it dead, and say why."""

    reason: str


def decide_redrive(chain: tuple[str, ...], plan: Plan, known: Callable[[str], bool]) -> Go | Refused:
    """Rules 1 to 3. `known`: is this vendor configured?"""
    names = [name for name in chain if known(name)]
    if not names:
        return Refused("no vendor of its chain is configured")
    if not any(plan.usable(name) or plan.recovering(name) for name in names):
        return Refused(", ".join(f"{name} is {_state(plan, name)}" for name in names))
    mailbox = decide_mailbox(chain, (), plan.usable, plan.recovering, known)
    assert mailbox is not None  # one is known
    return Go(mailbox, slowly=not all(plan.usable(name) for name in names))


def is_named(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    """Rule 5: may this filter redrive this letter?"""
    return letter.reason != "unknown" or bool(wanted.ids) or wanted.reason == "unknown"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a sweep goes on: `until_ms`, when it began, bounds it (rule 6); `after` is the last letter done."""

    until_ms: int
    after: DeadPosition

    def __str__(self) -> str:
        return f"{self.until_ms}.{self.after.dead_ms}.{self.after.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """None: this is no cursor of ours."""
        match = _CURSOR.fullmatch(text)
        return cls(int(match[1]), DeadPosition(int(match[2]), match[3])) if match else None


def _state(plan: Plan, vendor: str) -> str:
    entry = plan.vendors.get(vendor)
    return entry.state if entry else "unknown to the plan"
