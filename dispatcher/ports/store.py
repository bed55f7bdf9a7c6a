"""The port to the durable mailboxes: everything that couriers and intake do to a notification.

Guarantees, for every method of `Store`:

1. A change is atomic for each notification, and on disk when the method returns. A change of several notifications is
   not atomic as a whole.
2. A repeated call is safe: each change first checks the owner, the state or the score.
3. `UnavailableError` means "maybe done". The caller repeats the call, or finds out by the audit.
4. Only the incarnation for which an entry is pending can decide about it. Every other is told LOST.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from dispatcher.core.life.decide import Decision
from dispatcher.core.life.look_up import Fingerprint
from dispatcher.core.life.notification import Claim, Lane, NewTrigger
from dispatcher.ports.replies import (
    AcceptReply,
    Applied,
    Begun,
    Claims,
    Due,
    DueEntry,
    ExpiredPage,
    Held,
    HeldUntil,
    Orphan,
    Promoted,
    Withdrawal,
)


class Store(Protocol):
    """The mailboxes and records of one cell. `me` is always the caller's incarnation."""

    # ---- accept

    async def accept(self, triggers: Sequence[NewTrigger]) -> list[AcceptReply]:
        """Store each trigger with all its notifications, or nothing of it. The answers are in order.

        Raises UnavailableError: each is maybe stored.
        """
        ...

    async def synced(self) -> None:
        """Return when everything that this store shows now is as durable as an accept. Raises UnavailableError."""
        ...

    # ---- claim

    async def claim(self, me: str, lanes: Sequence[Lane], want: int) -> Claims:
        """Claim up to `want` entries, the lanes in order; within a lane tenants take turns (`core.limits.turns`).

        Raises FencedError if `me` is not live.
        """
        ...

    async def wait(self, me: str, lanes: Sequence[Lane], want: int, timeout_ms: int) -> Claims:
        """Claim as `claim` does, but wait up to `timeout_ms` for the first entry. It may claim a few more than `want`.

        Notifications that wait for their tenant's turn do not end the wait. There are none while fewer than `DIRECT`
        entries are unclaimed.

        End a wait with `wake`, never by cancelling: a cancelled read may have claimed an entry that nobody then knows
        of.
        """
        ...

    async def wake(self) -> None:
        """End a blocked `wait` of this process early. What it would have claimed stays unclaimed."""
        ...

    async def own(self, me: str, lanes: Sequence[Lane], known: Collection[tuple[Lane, str]]) -> Claims:
        """Return what is pending for `me` and is not in `known`: the entries of a claim whose reply was lost."""
        ...

    async def take(self, me: str, lanes: Sequence[Lane], at_most: int = 50) -> Claims:
        """Claim in the name of `me` what is pending for incarnations that are not live.

        A `hold` notification whose send may have begun becomes held instead. One whose actor crashed counts a crash.
        """
        ...

    # ---- decide

    async def apply(self, me: str, decided: Sequence[tuple[Claim, Decision]], now_ms: int) -> list[Applied]:
        """Carry out each decision. The answers are in order. `now_ms` is the store's time, for histories."""
        ...

    async def drop(self, me: str, orphans: Sequence[Orphan]) -> None:
        """Remove entries that belong to no notification, if they are pending for `me`."""
        ...

    async def start(self, me: str, claim: Claim, print_: Fingerprint | None = None) -> bool:
        """Set the durable start mark of a `hold` notification. If the answer is False, send nothing.

        With a `print_`, by which the vendor can be asked later, notifications with the same print are marked as twins.
        """
        ...

    async def single_out(self, me: str, nid: str | None) -> bool:
        """Suspect only `nid` if `me` crashes from now on. None makes all claims of `me` suspects again.

        If the answer is False, `me` is not live: send nothing.
        """
        ...

    # ---- what waits for its time

    async def due(self, limit: int = 100) -> Due:
        """Return up to `limit` notifications that are due now. It changes nothing but a clock that was set back."""
        ...

    async def promote(self, chosen: Sequence[tuple[DueEntry, str]]) -> list[Promoted]:
        """Put each due entry into the mailbox named beside it. The answers are in order."""
        ...

    async def begin(self, entries: Sequence[DueEntry]) -> list[Begun]:
        """Decide for each entry whether its waiting fallback begins (`core.life.fallback`). Answers come in order."""
        ...

    async def note_receipt(self, nid: str, word: str) -> bool:
        """Keep the receipt of a notification whose fallback waits for its delivery: `delivered` or `undelivered`.

        If the answer is False, nobody waits for it, or it is about an earlier attempt.
        """
        ...

    async def postpone(self, entries: Sequence[DueEntry], wait_ms: int) -> None:
        """Make each due again after `wait_ms`, unless another actor promoted or withdrew it meanwhile."""
        ...

    async def overdue_held(self, limit: int = 100) -> list[str]:
        """Return up to `limit` held notifications that are past their deadline."""
        ...

    async def held_ids(self, begin: int, count: int) -> list[HeldUntil]:
        """Return a page of the held notifications, by deadline."""
        ...

    async def held(self, ids: Sequence[str]) -> list[Held]:
        """Return those of `ids` that are held and have a start mark, with the content as accepted."""
        ...

    async def expired(self, lane: Lane, cursor: str, page: int = 200) -> ExpiredPage:
        """Return the notifications past their time among the next `page` entries of a lane. The first cursor is ''."""
        ...

    async def withdraw(self, nid: str, to: str, reason: str) -> Withdrawal:
        """End a notification that nobody has claimed, in the state `to`, wherever it waits.

        A notification that moves meanwhile is followed to its new mailbox. Raises RefusedError if its record is
        broken; it stays as it is.
        """
        ...
