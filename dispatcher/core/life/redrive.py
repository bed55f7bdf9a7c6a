"""The decision whether a dead letter may be tried again now, in which mailbox, and how fast.

Rules:

1. Every known vendor of its chain accepts new work: redrive at full pace, into the mailbox that today's plan chooses.
2. Some vendor does not, but another accepts new work or recovers: redrive slowly. The remaining vendors carry the whole
   chain's traffic or are being probed. A bulk redrive on top would bring them down again.
3. No vendor accepts new work or recovers: refuse, with the state of each. The letter would only wait and die again.
4. The pace holds per mailbox, over all intake replicas and operators, by a budget in the store.
5. A dead letter `unknown` was maybe sent, under a policy that forbids a repeat. It is skipped unless the filter names
   it, by its id or by that reason.
6. A bulk redrive ends with the letters that were dead when it began. It does not try a letter a second time that died
   again meanwhile.
7. A letter keeps the chain and the template version that it was accepted with, unless the operator asks for today's.
   Then they are its own from this generation on; its siblings and the caller's record keep what was accepted.
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
    """Redrive the letter into `mailbox`. `slowly` is True if a vendor of the chain does not accept new work."""

    mailbox: str
    slowly: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Leave the letter dead. `reason` says why."""

    reason: str


def decide_redrive(chain: tuple[str, ...], plan: Plan, known: Callable[[str], bool]) -> Go | Refused:
    """Return the decision of rules 1 to 3. `known` tells whether a vendor is configured."""
    names = [name for name in chain if known(name)]
    if not names:
        return Refused("no vendor of its chain is configured")
    if not any(plan.usable(name) or plan.recovering(name) for name in names):
        return Refused(", ".join(f"{name} is {_state(plan, name)}" for name in names))
    mailbox = decide_mailbox(chain, (), plan.usable, plan.recovering, known=known)
    assert mailbox is not None  # one is known
    return Go(mailbox, slowly=not all(plan.usable(name) for name in names))


def is_named(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    """Return True if this filter may redrive this letter (rule 5)."""
    return letter.reason != "unknown" or bool(wanted.ids) or wanted.reason == "unknown"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position at which a bulk redrive continues: behind `after`, the last letter done.

    `until_ms` is the time at which it began, and bounds it (rule 6).
    """

    until_ms: int
    after: DeadPosition

    def __str__(self) -> str:
        return f"{self.until_ms}.{self.after.dead_ms}.{self.after.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return the cursor in `text`, or None if `text` is no cursor of ours."""
        match = _CURSOR.fullmatch(text)
        return cls(int(match[1]), DeadPosition(int(match[2]), match[3])) if match else None


def _state(plan: Plan, vendor: str) -> str:
    entry = plan.vendors.get(vendor)
    return entry.state if entry else "unknown to the plan"
