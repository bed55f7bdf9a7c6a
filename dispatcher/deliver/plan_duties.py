"""The duties that a plan gives one vendor actor, besides draining mailboxes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.plan.values import Plan, VendorPlan
from dispatcher.deliver.breaker_memory import BreakerMemory
from dispatcher.deliver.courier import Courier
from dispatcher.errors import UnavailableError
from dispatcher.ports import Clock, Control, Store
from dispatcher.waiting import until_available


class PlanDuties:
    """Makes a courier follow the plan. `wish` is how many actors the plan wants in this pool.

    If the plan says that the vendor is open while this actor's breaker is closed, the breaker opens for `open_wait_s`
    seconds. The plan says so, for example, if all replicas together saw too many failures. `changed` is called when the
    breaker opens for this reason, when the plan says that receipts refuse our account or a country, and when an
    operator's override `close` begins or ends.
    """

    def __init__(
        self,
        courier: Courier,
        store: Store,
        clock: Clock,
        wish: int,
        *,
        open_wait_s: float,
        changed: Callable[[], None],
    ) -> None:
        self._courier, self._store, self._clock = courier, store, clock
        self._open_wait_s, self._changed = open_wait_s, changed
        self.wish: float = wish

    async def prepare(self, *, control: Control, memory: BreakerMemory, chance: Callable[[], float]) -> None:
        """Begin with the plan in force and with the stored breaker state. Wait while the store does not answer."""
        plan = await until_available(control.plan, chance)
        entry = None if plan is None else plan.vendors.get(self._courier.vendor.name)
        unmanned = plan is not None and self._courier.vendor.name in plan.unmanned
        await memory.restore(None if entry is None or unmanned else entry.state)
        if plan is not None:
            self.adopt(plan)

    def adopt(self, plan: Plan, asked_with: Plan | None = None) -> None:
        """Use `plan` if it replaces the current plan. `asked_with` is explained in `Plan.replaces`."""
        before = self._courier.plan
        self._courier.adopt_plan(plan, asked_with)
        self.look_again()
        if self._courier.plan is before:
            return
        entry = plan.vendors.get(self._courier.vendor.name)
        if entry is not None:
            self.wish = entry.replicas
            self._heed_receipts(entry, before.vendors.get(entry.name))
            if entry.state == "open" and self._courier.breaker.state is BreakerState.CLOSED:
                self._courier.gate.open_by_plan(self._open_wait_s)
                self._changed()
        # Wake the blocked claim: it waits on the lanes of the previous plan.
        self._waking = asyncio.ensure_future(self._wake())

    def _heed_receipts(self, entry: VendorPlan, before: VendorPlan | None) -> None:
        """Act on the plan's news that receipts of this vendor refuse our account or messages to a country.

        A refused account opens the breaker, and a refused country is cut off. Only refusals that the vendor's entry
        `before` in the previous plan did not have are news. But while the plan says that the vendor is open, a refused
        account counts again with each plan.
        """
        gate, known = self._courier.gate, () if before is None else before.countries_refused
        began = entry.account_refused and not (before is not None and before.account_refused)
        if began or (entry.account_refused and entry.state == "open"):
            gate.refuse_account()
            self._changed()
        for country in set(entry.countries_refused).difference(known):
            gate.refuse_country(country)
            self._changed()

    def look_again(self) -> None:
        """Apply the parts of the plan in force that must be checked again and again, not only when the plan is new."""
        self.obey_operator()
        self._hasten_probes()

    def _hasten_probes(self) -> None:
        """Shorten the breaker's open wait to the time that the plan asks for.

        The plan asks for this while work waits and no other vendor can send it.
        """
        entry = self._courier.plan.vendors.get(self._courier.vendor.name)
        if entry is not None and entry.probe_within_s is not None:
            self._courier.breaker.hasten(int(entry.probe_within_s * 1e9), int(self._clock.now_s() * 1e9))

    def obey_operator(self) -> None:
        """Apply the operator's override `close`. While it lasts, the breaker cannot open; when it ends, the breaker is
        closed.

        The caller repeats this check even if no new plan comes. Otherwise a breaker that was restored from an earlier
        state could open under the override.
        """
        entry, breaker = self._courier.plan.vendors.get(self._courier.vendor.name), self._courier.breaker
        told = entry is not None and entry.override == "close"
        if told == (breaker.state is BreakerState.METRICS_ONLY):
            return
        breaker.force(BreakerState.METRICS_ONLY if told else BreakerState.CLOSED, int(self._clock.now_s() * 1e9))
        self._changed()

    async def _wake(self) -> None:
        with contextlib.suppress(UnavailableError):
            await self._store.wake()
