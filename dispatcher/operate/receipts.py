"""Applies a vendor's receipts to notifications. The rules are in `core.life.receipt`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dispatcher.core.life.notification import CallMark, State, trigger_of
from dispatcher.core.life.receipt import ReceiptLinks, Told, decide_receipt, word_for_fallback, word_of
from dispatcher.core.life.trigger_view import NotificationView
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.operate.late_refusals import LateRefusals
from dispatcher.ports import Store, TriggerViews, WithdrawResult
from dispatcher.telemetry.metrics import Metrics

AGAIN_S = 5.0
"""The wait in seconds that a provider is told, if its receipt came before the notification's call had ended.

After the wait the provider sends the receipt again.
"""


Reader = Callable[[Mapping[str, str], bytes], "list[Told]"]
"""A function that reads the receipts in one call-back from its query and body.

It raises CallerError if its provider does not send such a call-back.
"""


KEPT_S = 5.0
"""The longest time in seconds for which a receipt is kept until its notification's call has ended.

Providers wait longer for an answer: Twilio 15 s, Vonage and SendGrid about 10 s.
"""
LOOK_S = 0.25
KEPT_MAX = 50
"""The most call-backs that are kept at once, because each of them occupies a request slot.

Further ones are refused, and their providers may send them again.
"""


class Receipts:
    """Applies receipts to notifications. A receipt is applied only if its token is valid."""

    def __init__(
        self,
        links: ReceiptLinks,
        store: Store,
        views: TriggerViews,
        metrics: Metrics,
        *,
        readers: Mapping[str, Reader],
        late: LateRefusals | None = None,
    ) -> None:
        """Prepare to apply receipts. `readers` has, for each configured vendor, the function that reads its call-backs.

        `late` applies receipts by which a vendor refuses a message that it had accepted.
        """
        self._links, self._store, self._views, self._metrics = links, store, views, metrics
        self._readers, self._late = readers, late
        self._kept = 0

    def refused(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many messages were refused by receipts lately, by vendor and country."""
        return {} if self._late is None else self._late.evidence()

    async def call_back(self, vendor: str, query: Mapping[str, str], body: bytes) -> dict[str, int]:
        """Read one call-back of a vendor and apply its receipts, as `hear` does.

        Raises CallerError (404) for an unknown vendor.
        """
        return await self.hear(vendor, self.read(vendor, query, body))

    def read(self, vendor: str, query: Mapping[str, str], body: bytes) -> list[Told]:
        """Return the receipts in one call-back of a vendor. Nothing is applied.

        Raises CallerError, with the status 404 for an unknown vendor.
        """
        read = self._readers.get(vendor)
        if read is None:
            raise CallerError("vendor", "is not a vendor that may send receipts here", 404)
        return read(query, body)

    async def hear(self, vendor: str, told: Sequence[Told]) -> dict[str, int]:
        """Apply the receipts, and return how many had each result. The call may be repeated safely.

        A receipt with a wrong token among valid ones is skipped: it is from before the secret was changed.

        If a receipt comes while its notification's call still waits for an answer, it is kept for up to `KEPT_S`. Most
        calls end by then, and not every provider sends a receipt again.

        Raises:
            CallerError: all receipts have a wrong token (403).
            UnavailableError: a notification is still being sent, or the store did not answer. All other receipts are
                applied.
        """
        believed = [one for one in told if self._links.verified(vendor, one)]
        if len(believed) < len(told):
            self._metrics.count("dispatcher_receipts", vendor, "forged", by=len(told) - len(believed))
            if not believed:
                raise CallerError("t", "is not the token of this notification", 403)
        counts: dict[str, int] = {}
        early = await self._apply(vendor, believed, counts)
        if early and self._kept < KEPT_MAX:
            self._kept += 1
            try:
                early = await self._keep(vendor, early, counts)
            finally:
                self._kept -= 1
        if early:
            self._metrics.count("dispatcher_receipts", vendor, "being_sent", by=len(early))
            raise UnavailableError("one of these notifications is being sent right now", AGAIN_S)
        return counts

    async def _keep(self, vendor: str, early: Sequence[Told], counts: dict[str, int]) -> Sequence[Told]:
        """Apply the receipts `early`, which came while their notifications were still being sent.

        The store is asked again and again whether these calls have ended, for at most `KEPT_S` seconds. Return the
        receipts whose calls take longer. The results of the others are added to `counts`.
        """
        for _ in range(round(KEPT_S / LOOK_S)):
            await asyncio.sleep(LOOK_S)
            early = await self._apply(vendor, early, counts)
            if not early:
                break
        return early

    async def _apply(self, vendor: str, told: Sequence[Told], counts: dict[str, int]) -> Sequence[Told]:
        """Apply and count the receipts.

        Return the receipts that could not be applied yet, because their notification is being sent.
        """
        early = []
        for one in told:
            result = await self._one(vendor, one)
            if result == "being_sent":
                early.append(one)
                continue
            self._metrics.count("dispatcher_receipts", vendor, result)
            counts[result] = counts.get(result, 0) + 1
        return early

    async def _one(self, vendor: str, told: Told) -> str:
        if told.carried is None:
            return "not_final"
        view = await self._views.trigger(trigger_of(told.notification_id))
        notifications = view.notifications if view else ()
        found = next((n for n in notifications if n.id == told.notification_id), None)
        if found is None:
            return "unknown"  # its record has expired
        call = self._links.call_of(vendor, told)
        if told.carried is False and await self._is_quicker(vendor, told, found, call):
            return "being_sent"
        if told.refusal is not None and self._late is not None:
            result = await self._late.apply(vendor, replace(told.refusal, call=call), found.id)
            if result is not None:
                return result
        word = word_for_fallback(told)
        if word is not None and any(n.fallback_for == told.notification_id for n in notifications):
            await self._store.note_receipt(told.notification_id, word)
        state = State(found.state)
        end = decide_receipt(told.carried, state)
        if end is None:
            return "taken" if told.carried else "undelivered"
        only = None if told.carried else state
        reply = await self._store.withdraw(told.notification_id, *end, only=only, word=word_of(vendor, told, call))
        match reply.result:
            case WithdrawResult.DONE:
                return end[0]
            case WithdrawResult.CLAIMED:
                return "being_sent"
            case WithdrawResult.ENDED:
                return "taken" if told.carried else "undelivered"

    async def _is_quicker(self, vendor: str, told: Told, found: NotificationView, call: CallMark | None) -> bool:
        """Return True if a receipt that says "not delivered" came before the answer to its call.

        Otherwise the call would end later as accepted, and nobody would know of the refusal any more.
        """
        known = {attempt.vendor_message_id for attempt in found.attempts}
        if State(found.state) not in (State.QUEUED, State.STARTED) or (told.message_id and told.message_id in known):
            return False
        sending = await self._store.sending(found.id)
        return sending is not None and sending[0] == vendor and call in (None, sending[1])
