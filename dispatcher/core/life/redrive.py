"""The decision whether a dead letter may be tried again now, in which mailbox, and how fast.

Rules:

1. If every known vendor of the chain accepts new work, redrive at full pace. The current plan chooses the mailbox.
2. If only some vendors accept new work or recover, redrive slowly. These vendors carry the traffic of the whole chain,
   or are being probed. A bulk redrive at full pace would bring them down again.
3. If no vendor accepts new work or recovers, refuse, and name the state of each. The letter would only wait and die.
4. The pace is a limit per mailbox, for all intake replicas and operators together. A budget in the store enforces it.
5. A dead letter with the reason `unknown` was maybe sent, and its policy forbids a repeat. Such a letter is redriven
   only if the filter names its id or that reason.
6. A bulk redrive covers the letters that were dead when it began. A letter that dies again meanwhile is not tried a
   second time.
7. A letter keeps the chain and the template version with which it was accepted, unless the operator asks for the
   current ones. The current ones then apply to this letter from this generation on. The other notifications of its
   trigger keep theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.core.life.dead_letter import DeadLetter, DeadLetterFilter, DeadPosition
from dispatcher.core.life.decide import decide_mailbox
from dispatcher.core.plan.values import Plan

_CURSOR = re.compile(r"(\d{1,15})\.(\d{1,15})\.([a-z0-9.-]{0,80})")


@dataclass(frozen=True, slots=True)
class Go:
    """Redrive the letter into `mailbox`. `slowly` is True if some vendor of the chain does not accept new work."""

    mailbox: str
    slowly: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Leave the letter among the dead letters. `reason` says why."""

    reason: str


def decide_redrive(chain: tuple[str, ...], plan: Plan, known: Callable[[str], bool]) -> Go | Refused:
    """Return the decision whether and where a dead letter is redriven (rules 1 to 3). `known` tells whether a vendor is
    configured.
    """
    names = [name for name in chain if known(name)]
    if not names:
        return Refused("no vendor of its chain is configured")
    if not any(plan.usable(name) or plan.recovering(name) for name in names):
        return Refused(", ".join(f"{name} is {_state(plan, name)}" for name in names))
    mailbox = decide_mailbox(chain, (), plan.usable, plan.recovering, known=known)
    assert mailbox is not None  # at least one vendor of the chain is known
    return Go(mailbox, slowly=not all(plan.usable(name) for name in names))


def is_named(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    """Return True if a redrive with this filter may try this letter again (rule 5)."""
    return letter.reason != "unknown" or bool(wanted.ids) or wanted.reason == "unknown"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position at which a bulk redrive continues. `after` is the letter that was handled last.

    `until_ms` is when the redrive began, in wall milliseconds. Letters that died later are not part of it (rule 6).
    """

    until_ms: int
    after: DeadPosition

    def __str__(self) -> str:
        return f"{self.until_ms}.{self.after.dead_ms}.{self.after.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return the cursor in `text`, or None if `text` was not made by `str(cursor)`."""
        match = _CURSOR.fullmatch(text)
        return cls(int(match[1]), DeadPosition(int(match[2]), match[3])) if match else None


def _state(plan: Plan, vendor: str) -> str:
    entry = plan.vendors.get(vendor)
    return entry.state if entry else "unknown to the plan"
