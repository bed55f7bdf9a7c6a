"""The control channel carries incarnations, beats, reports, totals of the metrics, and the plan.

Through this channel, processes also learn the state of the store itself, such as its identity and how full it is.

Beats, reports and totals are only published. A publication may be lost, and then the next publication replaces it.
Publishing works even if the store is full. Everything else is durable when the method returns. `UnavailableError` means
"maybe done", and the call may safely be repeated.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.backlog import Backlog, MailboxDepth
from dispatcher.core.life.notification import Lane
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
    """The breaker state that an actor of a vendor wrote last, and its age in milliseconds."""

    breaker: JsonObject
    age_ms: int


class Term(NamedTuple):
    """A supervisor's term of office: its number, and the plan in force when it began.

    Every term with a lower number is over.
    """

    number: int
    plan: Plan


class Control(Protocol):
    """The end of the control channel that one process uses."""

    # ---- actors

    async def register(self, vendor: str, pid: int = 0, node: str = "") -> str:
        """Return the name of a new live incarnation, `vendor/number-tail`.

        No other incarnation, earlier or later, has the same name.
        """
        ...

    async def renew(self, incarnation: str) -> bool:
        """Return True if the incarnation is live, and add one to the number of its renewals.

        If the result is False, nothing is changed. The supervisor may have decided before this renewal that the
        incarnation is dead. Such a decision no longer counts (see `bury`).
        """
        ...

    async def bury(self, verdicts: Mapping[str, int], term: int) -> list[str]:
        """Mark incarnations as dead, and return the names of those that were marked.

        A live actor renews its incarnation regularly. `verdicts` maps each incarnation to the number of renewals that
        the supervisor saw before its verdict. An incarnation that was renewed since then stays live. Raises
        StaleTermError, and marks none, if another supervisor has begun a later term.
        """
        ...

    async def stopped(self, incarnation: str) -> None:
        """End an incarnation that has stopped cleanly.

        Other actors take its claims at once, and no claim is suspected of a crash.
        """
        ...

    async def remember(self, vendor: str, breaker: JsonObject) -> None:
        """Store the breaker state of a vendor. The new state replaces what any other actor of the vendor has stored."""
        ...

    async def recall(self, vendor: str) -> Remembered | None:
        """Return the breaker state that an actor of this vendor stored last, or None if none was stored."""
        ...

    async def live(self) -> dict[str, Incarnation]:
        """Return the live incarnations by name."""
        ...

    async def ended(self) -> list[str]:
        """Return the incarnations that have ended and have no pending entry in any mailbox."""
        ...

    async def forget(self, incarnations: Sequence[str]) -> None:
        """Delete the store's records of these ended incarnations."""
        ...

    # ---- messages

    async def beat(self, beat: Beat) -> None:
        """Publish that an actor is alive."""
        ...

    async def report(self, report: Report | Statement) -> None:
        """Publish the report of a vendor actor or the statement of an intake replica."""
        ...

    async def totals(self, sums: Sums) -> None:
        """Publish the sum of all processes' metrics."""
        ...

    def listen(self, kinds: Sequence[str]) -> AsyncGenerator[Message | None, None]:
        """Yield the messages of these kinds as they arrive. Yield None whenever 0.5 s have passed without a message.

        The kinds are `beat`, `report`, `totals` and `plan`. The kind `report` includes the statements of intake
        replicas. Raises UnavailableError when the connection breaks, even if the other side says nothing.
        """
        ...

    # ---- plan

    async def begin_term(self) -> Term:
        """Begin a new term of a supervisor, and return it. A term is the time in which one supervisor may publish
        plans.

        From now on the plans of every earlier term are refused, and so are its decisions that an incarnation is dead.
        """
        ...

    async def publish(self, plan: Plan, term: int) -> None:
        """Put a plan in force. Raises StaleTermError if another supervisor has begun a later term.

        Raises UnavailableError if no answer came. Then the plan may come into force later, but never after a plan with
        a higher epoch.
        """
        ...

    async def plan(self) -> Plan | None:
        """Return the plan in force. Return None if there has never been a plan, or if the store has lost it."""
        ...

    async def plan_history(self, limit: int = 100) -> list[JsonObject]:
        """Return up to `limit` plans, the newest first. Each is a dictionary in the form in which it was stored."""
        ...

    async def overrides(self) -> dict[str, Override]:
        """Return the operators' overrides, by vendor."""
        ...

    async def set_override(self, vendor: str, override: Override | None) -> None:
        """Store an operator's override of a vendor, or remove it if `override` is None.

        The call works on a full store too.
        """
        ...

    async def weigh(self, weights: Mapping[str, int]) -> None:
        """Give each of these tenants its weight, and every other tenant the weight 1.

        Unchanged weights are not written.
        """
        ...

    # ---- mailboxes

    async def waiting(self, lane: Lane) -> dict[str, int]:
        """Return how many unclaimed notifications each tenant has in a lane.

        The answer is empty if the tenants of this lane do not take turns at present. They begin to take turns when the
        lane has a backlog. Entries that came into the lane before that are left out.
        """
        ...

    async def depths(self) -> dict[str, MailboxDepth]:
        """Return the depth of every existing mailbox, by its name."""
        ...

    async def backlog(self, depths: Mapping[str, MailboxDepth] | None = None) -> dict[str, Backlog]:
        """Return, for each mailbox, how many of its notifications are accepted and not ended. They may wait in any
        place: queued, claimed, due, delayed or held.

        The cost of the call is bounded, however many wait. A caller that has just called `depths` passes its answer.
        """
        ...

    async def counts(self) -> dict[str, int]:
        """Return how many notifications of the whole cell are due, delayed, held and dead, by these four words."""
        ...


class Vitals(Protocol):
    """The store's clock, its memory, and what it tells about its own past (`core.store.continuity`)."""

    async def now_ms(self) -> int:
        """Return the store's wall time in milliseconds since 1970. All processes use it for dates and comparisons."""
        ...

    async def memory(self) -> Memory:
        """Return how many bytes the store uses and how many it may use."""
        ...

    async def log_faults(self) -> tuple[str, ...]:
        """Return which operations on the store's append-only file failed when they last ran (`rewrite`, `write`)."""
        ...

    async def ledger(self) -> Mark | None:
        """Return how many triggers the store has accepted.

        Return None if it has accepted none, or has lost the count.
        """
        ...

    async def lineage(self) -> Lineage | None:
        """Return the store's stream of writes. Lost writes are found by it (`core.store.continuity`).

        Return None if the server is no primary, or does not tell.
        """
        ...
