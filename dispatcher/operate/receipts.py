"""Applies a vendor's receipts to notifications (`core.life.receipt` has the rules)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from dispatcher.core.life.notification import State, TriggerView, trigger_of
from dispatcher.core.life.receipt import ReceiptLinks, Told, decide_receipt
from dispatcher.errors import CallerError, UnavailableError
from dispatcher.telemetry.metrics import Metrics

AGAIN_S = 5.0
"""The wait for a provider whose notification is being sent right now. By then that call has an outcome."""


class Receipts:
    """Applies receipts with a valid token. `withdraw` and `view` are the store's."""

    def __init__(
        self,
        links: ReceiptLinks,
        withdraw: Callable[[str, str, str], Awaitable[str]],
        view: Callable[[str], Awaitable[TriggerView | None]],
        metrics: Metrics,
    ) -> None:
        self._links, self._withdraw, self._view, self._metrics = links, withdraw, view, metrics

    async def hear(self, vendor: str, told: Sequence[Told]) -> dict[str, int]:
        """Apply the receipts and return their number by result. A repeated call is safe.

        A receipt with a wrong token among valid ones is skipped: it is from before the secret was changed.

        Raises:
            CallerError: all receipts have a wrong token (403).
            UnavailableError: a notification is being sent right now, or the store did not answer. The rest was done.
        """
        believed = [one for one in told if self._links.verified(vendor, one)]
        if len(believed) < len(told):
            self._metrics.count("dispatcher_receipts", vendor, "forged", by=len(told) - len(believed))
            if not believed:
                raise CallerError("t", "is not the token of this notification", 403)
        counts: dict[str, int] = {}
        for one in believed:
            result = await self._one(one)
            self._metrics.count("dispatcher_receipts", vendor, result)
            counts[result] = counts.get(result, 0) + 1
        if "being_sent" in counts:
            raise UnavailableError("a notification of these is being sent right now", AGAIN_S)
        return counts

    async def _one(self, told: Told) -> str:
        if told.taken is None:
            return "not_final"
        view = await self._view(trigger_of(told.notification_id))
        found = next((n for n in view.notifications if n.id == told.notification_id), None) if view else None
        if found is None:
            return "unknown"  # its record has expired
        end = decide_receipt(told.taken, State(found.state))
        if end is None:
            return "taken" if told.taken else "undelivered"
        reply = await self._withdraw(told.notification_id, *end)
        return {"OK": end[0], "CLAIMED": "being_sent"}.get(reply, "taken" if told.taken else "undelivered")
