"""The control channel: incarnations, beats, reports and the plan, and what the store tells of itself.

Beats, reports and totals are news: a publication may be lost, the next one replaces it, and it works while the store is
full. Everything else is durable when the method returns. `UnavailableError` means "maybe done"; repeating is safe.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from dispatcher.core.life.notification import Backlog, Lane, MailboxDepth
from dispatcher.core.plan.messages import Message, Statement, Sums
from dispatcher.core.plan.values import Beat, Override, Plan, Report
from dispatcher.core.store.continuity import Lineage, Mark
from dispatcher.ports.replies import Memory


@dataclass(frozen=True, slots=True)
class Incarnation:
    """The store's record of a live incarnation: how often it was renewed, its process and its machine."""

    renewed: int = 0
    pid: int = 0
    node: str = ""


class Remembered(NamedTuple):
    """The breaker state that a vendor's actor wrote last, and its age in milliseconds."""

    breaker: dict[str, Any]
    age_ms: int


class Term(NamedTuple):
    """A supervisor's term, which fences all earlier ones, and the plan in force at its beginning."""

    number: int
    plan: Plan


class Control(Protocol):
    """One process's end of the control channel."""

    # ---- actors

    async def register(self, vendor: str, pid: int = 0, node: str = "") -> str:
        """Return a new live incarnation, `vendor/number-tail`. Its name was never used before and never will be."""
        ...

    async def renew(self, incarnation: str) -> bool:
        """Return True if the incarnation is live. Then no verdict counts that rests on an earlier reading of it."""
        ...

    async def bury(self, verdicts: Mapping[str, int], term: int) -> list[str]:
        """Mark dead each incarnation that was renewed exactly as often as `verdicts` says. Return those that are dead.

        So an incarnation that renewed itself after the verdict stays live. Raises StaleTermError if the supervisor of
        this term is no longer in office.
        """
        ...

    async def stopped(self, incarnation: str) -> None:
        """End an incarnation cleanly: others take its claims at once, and nobody suspects them."""
        ...

    async def remember(self, vendor: str, breaker: dict[str, Any]) -> None:
        """Keep the breaker state of a vendor. The latest call counts, whoever made it."""
        ...

    async def recall(self, vendor: str) -> Remembered | None:
        """Return what was remembered last; None if nothing was."""
        ...

    async def live(self) -> dict[str, Incarnation]:
        """Return the live incarnations by name."""
        ...

    async def ended(self) -> list[str]:
        """Return the incarnations that ended and have nothing pending in any mailbox."""
        ...

    async def forget(self, incarnations: Sequence[str]) -> None:
        """Remove ended incarnations from the records."""
        ...

    # ---- messages

    async def beat(self, beat: Beat) -> None:
        """Publish that an actor is alive."""
        ...

    async def report(self, report: Report | Statement) -> None:
        """Publish a vendor actor's report, or an intake replica's statement."""
        ...

    async def totals(self, sums: Sums) -> None:
        """Publish the sum of all processes' metrics."""
        ...

    def listen(self, kinds: Sequence[str]) -> AsyncGenerator[Message | None, None]:
        """Yield the messages of these kinds as they come, and None after each quiet 0.5 s.

        A kind is beat, report, totals or plan. Reports are those of vendor actors and of intake.

        Raises UnavailableError when the link breaks, also when it breaks silently.
        """
        ...

    # ---- plan

    async def begin_term(self) -> Term:
        """Take office. Whatever an earlier supervisor publishes or buries from now on is refused."""
        ...

    async def publish(self, plan: Plan, term: int) -> None:
        """Put a plan in force. Raises StaleTermError if another supervisor is in office.

        Raises UnavailableError: it may come into force later, but never after a plan of a later epoch.
        """
        ...

    async def plan(self) -> Plan | None:
        """Return the plan in force; None if there was none, or the store has lost it."""
        ...

    async def plan_history(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return the latest plans, the newest first, each as it was stored by its version."""
        ...

    async def overrides(self) -> dict[str, Override]:
        """Return operators' overrides by vendor."""
        ...

    async def set_override(self, vendor: str, override: Override | None) -> None:
        """Keep an override, or remove it with None. It works on a full store too, when it may be needed most."""
        ...

    async def weigh(self, weights: Mapping[str, int]) -> None:
        """Give these tenants these weights, and every other tenant the weight 1. An unchanged weight is not written."""
        ...

    # ---- mailboxes

    async def waiting(self, lane: Lane) -> dict[str, int]:
        """Return how many notifications of each tenant wait unclaimed in a lane whose tenants take turns.

        Entries that waited there before the turns began belong to no tenant in the answer. A lane without turns has an
        empty answer.
        """
        ...

    async def depths(self) -> dict[str, MailboxDepth]:
        """Return the depth, the claimed entries and the age of the oldest entry of every existing mailbox."""
        ...

    async def backlog(self, depths: Mapping[str, MailboxDepth] | None = None) -> dict[str, Backlog]:
        """Return each mailbox's notifications that are accepted and not ended, wherever they wait. Its cost is bounded.

        `depths` is the answer of `depths`, if the caller has just asked for it.
        """
        ...

    async def counts(self) -> dict[str, int]:
        """Return how many notifications are due, delayed, held and dead."""
        ...


class Vitals(Protocol):
    """The store's clock, its memory, and what it tells about its own past (`core.store.continuity`)."""

    async def now_ms(self) -> int:
        """Return the store's wall clock in milliseconds. Every process dates and compares by it."""
        ...

    async def memory(self) -> Memory:
        """Return how much memory the store uses and may use."""
        ...

    async def log_faults(self) -> tuple[str, ...]:
        """Return those of `rewrite` and `write` that failed at their last run on the store's append-only file."""
        ...

    async def ledger(self) -> Mark | None:
        """Return how much the store has accepted in its life; None if it has accepted nothing, or has lost it."""
        ...

    async def lineage(self) -> Lineage | None:
        """Return the stream of writes that the store has; None if it is no primary, or does not tell."""
        ...
