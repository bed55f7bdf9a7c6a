"""The port to the durable mailboxes: everything that intake and couriers do to a notification.

Every method of `Store` gives these guarantees:

1. The change of one notification is atomic, and is on disk when the method returns. A change of several notifications
   is not atomic as a whole.
2. A call may be repeated safely: before each change the store checks that the notification still has the expected
   owner, state or time.
3. `UnavailableError` means "maybe done". The caller repeats the call, or learns from the audit what was done.
4. Only the incarnation for which an entry is pending can decide about that entry. Any other incarnation gets the answer
   LOST.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from dispatcher.core.life.decide import Decision
from dispatcher.core.life.late_refusal import LastCall, Reopen
from dispatcher.core.life.look_up import Fingerprint
from dispatcher.core.life.notification import CallMark, Claim, Lane, LaterWord, NewTrigger, State
from dispatcher.ports.replies import (
    AcceptReply,
    Applied,
    Begun,
    Charged,
    Claims,
    Due,
    DueEntry,
    ExpiredPage,
    Held,
    HeldUntil,
    Known,
    Orphan,
    Promoted,
    Withdrawal,
)

CHARGE_KEPT_MS = 60_000
"""For how long the answer to a charge is kept, in milliseconds.

A caller repeats a failed request with the same key within this time, and is not charged twice. A trigger that is stored
so late counts up to this time before it was stored.
"""


class Store(Protocol):
    """The mailboxes and records of one cell. In every method, `me` is the name of the caller's incarnation."""

    # ---- accept

    async def accept(self, triggers: Sequence[NewTrigger]) -> list[AcceptReply]:
        """Store each trigger with all its notifications, or not at all.

        Return one answer for each trigger, in their order. Raises UnavailableError if no answer came. Then each of the
        triggers is maybe stored.

        A trigger that is stored already is answered first. Any other trigger is stored only if this cell knows of no
        more cells in force than `NewTrigger.cells`. Otherwise the answer is MOVED, and nothing is changed. If this cell
        knew of fewer cells, it knows that number from now on.
        """
        ...

    async def known(self, trigger_ids: Sequence[str], cells: int) -> Known:
        """Tell which of these triggers this cell has, and let it know that `cells` cells are in force.

        When the answer is here, the cell stores nothing any more for a process that knows of fewer cells. What was read
        is then as durable as an accepted trigger. With no ids, the call only tells the cell the number. Raises
        UnavailableError; then nobody knows whether the cell has the triggers.
        """
        ...

    async def charge(self, triggers: Sequence[NewTrigger]) -> list[Charged]:
        """Count each trigger for its tenant's accept rate, and its messages for the caps of their recipients.

        This is for triggers that another cell stores, and this cell is the counting cell of their tenants. Return one
        answer for each trigger, in their order. The trigger is then given to the other cell with
        `NewTrigger.suppressed`.
        If the same trigger with the same body is charged again within `CHARGE_KEPT_MS`, or within the shortest of its
        caps' windows, the answer is the same and nothing is counted. A refusal is not kept. Raises UnavailableError;
        each trigger is then maybe charged.
        """
        ...

    async def synced(self) -> None:
        """Wait until everything that can be read now is as durable as an accepted trigger. Raises UnavailableError."""
        ...

    # ---- claim

    async def claim(self, me: str, lanes: Sequence[Lane], want: int) -> Claims:
        """Claim up to `want` entries for `me`. The lanes are read in the order of `lanes`.

        Within a lane the tenants take turns (`core.limits.turns`). Raises FencedError if `me` is not live.
        """
        ...

    async def wait(self, me: str, lanes: Sequence[Lane], want: int, timeout_ms: int) -> Claims:
        """Claim entries as `claim` does, but wait up to `timeout_ms` until there is one.

        The result may have a few more than `want` entries. If a lane has `core.limits.turns.DIRECT` or more unclaimed
        entries, further notifications wait in queues, one for each tenant. An entry in such a queue does not end the
        wait.

        End a wait with `wake` and never by cancelling the call. A cancelled read may have claimed an entry, and nobody
        would know of it.
        """
        ...

    async def wake(self) -> None:
        """End a blocking `wait` of this process early, if there is one.

        Entries that arrive later are then not claimed by that `wait`.
        """
        ...

    async def own(self, me: str, lanes: Sequence[Lane], known: Collection[tuple[Lane, str]]) -> Claims:
        """Return the pending entries of `me` that are not in `known`.

        These entries were claimed by a call whose answer got lost.
        """
        ...

    async def take(self, me: str, lanes: Sequence[Lane], at_most: int = 50) -> Claims:
        """Claim for `me` up to `at_most` entries that are pending for incarnations which are no longer live.

        A `hold` notification whose send may have begun becomes held instead. If an incarnation crashed, the store
        counts one crash for each of its notifications that may be the cause. `single_out` says which notifications
        these are.
        """
        ...

    # ---- decide

    async def apply(self, me: str, decided: Sequence[tuple[Claim, Decision]], now_ms: int) -> list[Applied]:
        """Carry out the decision about each claim. Return one answer for each, in their order.

        `now_ms` is the store's time in wall milliseconds; it is written into the histories.
        """
        ...

    async def drop(self, me: str, orphans: Sequence[Orphan]) -> None:
        """Remove mailbox entries that belong to no notification (orphans). An entry that is not pending for
        `me` stays.
        """
        ...

    async def start(self, me: str, claim: Claim, print_: Fingerprint | None = None) -> bool:
        """Set the durable start mark of a `hold` notification, before its first send.

        Return True if the mark is set. If the answer is False, the notification must not be sent. `print_` is the
        fingerprint of the message, or None if the vendor has no look-up. Notifications with the same fingerprint that
        start close together are marked as twins.
        """
        ...

    async def single_out(self, me: str, nid: str | None) -> bool:
        """Declare which notifications may be the cause if `me` crashes from now on: only the notification `nid`.

        With None, every claim of `me` may be the cause again. If the answer is False, `me` is not live and must not
        send anything.
        """
        ...

    # ---- what waits for its time

    async def due(self, limit: int = 100) -> Due:
        """Return the notifications whose time has come: up to `limit` retries and up to `limit` delayed ones.

        No notification is changed. If the store's clock was set back, its delay time is corrected
        (`core.store.delay_time`).
        """
        ...

    async def promote(self, chosen: Sequence[tuple[DueEntry, str]]) -> list[Promoted]:
        """Put each due entry into the mailbox named beside it. Return one answer for each, in their order."""
        ...

    async def begin(self, entries: Sequence[DueEntry]) -> list[Begun]:
        """Decide for each of these waiting fallbacks whether it begins (`core.life.fallback`).

        Return one answer for each, in the order of `entries`.
        """
        ...

    async def note_receipt(self, nid: str, word: str) -> bool:
        """Store what a receipt says, if a fallback waits for the delivery of this notification.

        `word` is `delivered` or `undelivered`. The answer is False if no fallback waits, or if the receipt is about an
        earlier attempt; then nothing is stored.
        """
        ...

    async def last_call(self, nid: str) -> LastCall | None:
        """Return a settled or held notification with its last call (`core.life.late_refusal`).

        The answer is None in any other state, and if the content is not kept any more (`Settle.reopens_ms`).
        """
        ...

    async def reopen(self, last: LastCall, how: Reopen) -> bool:
        """Send a settled or held notification again: it becomes due.

        The answer is False, and nothing is changed, if the notification has changed since `last` was read, if its
        fallback has begun, or if its content is gone.
        """
        ...

    async def postpone(self, entries: Sequence[DueEntry], wait_ms: int) -> None:
        """Make each entry due again in `wait_ms`.

        An entry that another actor has promoted or withdrawn meanwhile is left as it is.
        """
        ...

    async def overdue_held(self, limit: int = 100) -> list[str]:
        """Return the ids of up to `limit` held notifications whose deadline has passed."""
        ...

    async def held_ids(self, begin: int, count: int) -> list[HeldUntil]:
        """Return `count` held notifications with their deadlines, in the order of the deadlines. The first `begin` of
        them are skipped.
        """
        ...

    async def held(self, ids: Sequence[str]) -> list[Held]:
        """Return the notifications among `ids` that are held and whose record says which vendor was being called (start
        mark).

        Each of them has its content as it was accepted.
        """
        ...

    async def expired(self, lane: Lane, cursor: str, page: int = 200) -> ExpiredPage:
        """Return the notifications whose time to live is over, among the next `page` entries of a lane.

        `cursor` is '' at the first call, then the cursor that the last page returned.
        """
        ...

    async def withdraw(
        self, nid: str, to: str, reason: str, *, only: State | None = None, word: LaterWord | None = None
    ) -> Withdrawal:
        """End a notification in the state `to`, wherever it waits, unless an actor has claimed it.

        With `only`, it is ended only in this state. `word` is the word of a vendor by which it ends. It changes nothing
        if it is about a call with another mark. If the word settles the notification, it is added to the history as an
        accepted call, and the content is kept for `REOPENS_MS`, because a receipt may still refuse the message.

        If the notification moves to another mailbox meanwhile, the call finds it there. Raises RefusedError if its
        record is broken; then nothing is changed.
        """
        ...

    async def sending(self, nid: str) -> tuple[str, CallMark] | None:
        """Return the vendor whose actor has claimed the notification, and the mark of its call; None if nobody has."""
        ...
