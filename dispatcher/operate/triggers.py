"""The operations of callers on their triggers: find and cancel."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from dispatcher.accept.intake import trigger_id
from dispatcher.core.life.trigger_view import TriggerView
from dispatcher.errors import CallerError
from dispatcher.ports import Store, TriggerViews, WithdrawResult

TOGETHER = 16
"""How many withdrawals share one round trip."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The result of cancelling one notification: `cancelled`, `too late` if an actor has claimed it, or the state in
    which it had already ended.
    """

    id: str
    result: str


class Triggers:
    """Finds and cancels triggers of one tenant.

    For a trigger of another tenant the answer is 404, as if it did not exist.
    """

    def __init__(self, views: TriggerViews, store: Store) -> None:
        self._views, self._store = views, store

    async def find(self, tenant: str, tid: str) -> TriggerView:
        """Return the trigger with this id. Raises CallerError (404) and UnavailableError."""
        view = await self._views.trigger(tid)
        if view is None or view.tenant != tenant:
            raise CallerError("id", "is not a trigger of this tenant", 404)
        return view

    async def find_by_key(self, tenant: str, key: str) -> TriggerView:
        """Return the trigger that was posted with this idempotency key.

        Raises CallerError (404) and UnavailableError.
        """
        return await self.find(tenant, trigger_id(tenant, key))

    async def cancel(self, tenant: str, tid: str) -> list[Cancelled]:
        """Withdraw all notifications of a trigger that no actor has claimed, and return the result of each.

        Raises CallerError (404) and UnavailableError (maybe done). The call may be repeated safely.
        """
        view = await self.find(tenant, tid)
        done: list[Cancelled] = []
        for start in range(0, len(view.notifications), TOGETHER):
            ids = [n.id for n in view.notifications[start : start + TOGETHER]]
            results = await asyncio.gather(*map(self._cancel, ids))
            done += map(Cancelled, ids, results)
        return done

    async def _cancel(self, nid: str) -> str:
        reply = await self._store.withdraw(nid, "cancelled", "cancelled")
        return {WithdrawResult.DONE: "cancelled", WithdrawResult.CLAIMED: "too late"}.get(reply.result, reply.state)
