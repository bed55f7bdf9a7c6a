"""Applies refusals by receipt. The rules are in `core.life.late_refusal`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dispatcher.core.breaker.refusals import ToldRefusals
from dispatcher.core.life.decide import Situation
from dispatcher.core.life.late_refusal import LateRefusal, decide_late_refusal, evidence_of
from dispatcher.core.life.outcome import Rule, Scope, apply_rules
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.core.plan.values import Plan
from dispatcher.ports import Clock, Store
from dispatcher.telemetry.account_refusals import AccountRefusals
from dispatcher.telemetry.metrics import Metrics
from dispatcher.wire.trigger import phone_region


class LateRefusals:
    """Handles receipts that refuse a message which the vendor had accepted.

    Sends the notification again, tells operators, and collects the evidence against the vendor.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        plan: Callable[[], Plan],
        *,
        policy: RetryPolicy,
        rules: Mapping[str, Sequence[Rule]],
        now_ms: Callable[[], int],
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """Prepare to apply the refusals that receipts report.

        `plan` returns the plan in force. `now_ms` returns the store's wall time. `rules` gives the operator's rules of
        each vendor.
        """
        self._store, self._clock, self._plan = store, clock, plan
        self._policy, self._rules, self._now_ms, self._chance = policy, rules, now_ms, chance
        self._account_refusals = AccountRefusals(metrics, clock.now_s)
        self._told = ToldRefusals()

    def evidence(self) -> dict[str, dict[str, int]]:
        """Return how many messages were lately refused by receipts, for each vendor and country
        (`core.breaker.refusals`).
        """
        return self._told.counts(int(self._clock.now_s() * 1e9))

    async def apply(self, vendor: str, refusal: LateRefusal, nid: str) -> str | None:
        """Apply one refusal to the notification `nid`.

        Return `reopened` if the notification is sent again, and None if the refusal changes nothing here. Raises
        UnavailableError.
        """
        outcome = apply_rules(refusal.outcome, self._rules.get(vendor, ()))
        refusal = replace(refusal, outcome=outcome)
        if not refusal.moves_on:
            return None
        last = await self._store.last_call(nid)
        if last is None:
            return None
        now_ms = self._now_ms()
        scope = evidence_of(last, refusal, vendor, now_ms)
        if scope is not None:
            country = (phone_region(last.notification.to) or "") if scope is Scope.ROUTE else ""
            self._note(vendor, outcome.reason, scope, country)
        how = decide_late_refusal(
            last, refusal, Situation(vendor, self._plan().usable, self._policy, now_ms, self._chance())
        )
        return "reopened" if how is not None and await self._store.reopen(last, how) else None

    def _note(self, vendor: str, reason: str, scope: Scope, country: str) -> None:
        if scope is Scope.ROUTE and not country:
            return  # no country to be cut off
        self._account_refusals.tell(vendor, reason, country)
        self._told.note(vendor, country, int(self._clock.now_s() * 1e9))
