"""How much a vendor actor may send now, and what each answer teaches it of that.

The state between a vendor and its calls: breaker, contract rate, a recovering vendor's ramp, concurrency and the
vendor's own word on when to come back. Soft state of one actor; nothing here waits or reaches out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.core.breaker.breaker import Breaker, BreakerResult, BreakerState, Permit
from dispatcher.core.breaker.per_country import CutOff, KeyedBreakers
from dispatcher.core.breaker.refusals import RefusedRecipients
from dispatcher.core.life.outcome import OUR_BUG, Outcome, OutcomeKind, Scope
from dispatcher.core.limits.concurrency import AdaptiveLimit
from dispatcher.core.limits.token_bucket import RecentRate, TokenBucket
from dispatcher.core.plan.values import VendorPlan
from dispatcher.ports import Clock

ACCOUNT_OPEN_S = 60.0
"""A bad key or an empty account does not heal in seconds. A probe a minute finds one that was mended."""

HINT_OPENS_S = 2.0
"""A vendor that asks for at least this much patience is left to its fallback; for less, this actor only pauses."""

THROTTLES_OPEN = 10
"""Throttled so often in a row, a vendor is left to its fallback even if it never says for how long."""

RAMP_LEAST_PER_S = 2.0
"""Of a vendor that had hardly any traffic: a recovery by shares of nothing would never end."""

TAKES_MAX = 50


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Bounds of one actor's calls."""

    rate_per_s: float | None = None
    """The contract's; this actor's share of it comes with the plan."""
    concurrency_min: int = 8
    concurrency_max: int = 64
    half_open_calls: int = 5


class Gate:
    """What one vendor actor may send now."""

    def __init__(
        self,
        breaker: Breaker,
        limits: GateLimits,
        clock: Clock,
        on_change: Callable[[], None] = lambda: None,
        keys: KeyedBreakers | None = None,
    ) -> None:
        """`on_change` is called at once when the breaker's state has changed. `keys`: those of countries below it."""
        self.breaker, self.keys = breaker, keys
        self.bucket = TokenBucket(None, clock.now_s())
        self.concurrency = AdaptiveLimit(
            min(limits.concurrency_min, limits.concurrency_max), limits.concurrency_max, clock.now_s()
        )
        self.unreached = 0  # failures in a row that ended before the vendor was reached
        self._ramp = TokenBucket(None, clock.now_s())
        self._former = RecentRate(clock.now_s())
        self._pause_until_s = 0.0
        self._throttles = 0  # in a row, over all messages
        self._refused = RefusedRecipients(
            breaker.config.window_size * 1_000_000_000 if breaker.config.window_type == "TIME" else 10_000_000_000,
            int(clock.now_s() * 1e9),
        )
        self._opened_by_refusals = False  # then a refused probe is a failed one
        self._limits, self._clock, self._on_change = limits, clock, on_change

    # ---- before a call

    def follow(self, entry: VendorPlan | None, me: str) -> None:
        """My part of the contract rate. Whoever no plan names yet sends nothing: the others may be using all of it."""
        if entry is None:
            rate = None if self._limits.rate_per_s is None else 0.0
        else:
            rate = None if entry.shares is None else entry.shares[me].per_s if me in entry.shares else 0.0
        self.bucket.set_rate(rate, self._clock.now_s())

    def tick(self) -> None:
        """Let time pass for the breaker; a verdict that falls by it is reported at once."""
        before = self.breaker.state
        (self.keys or self.breaker).tick(self._now_ns())
        share = self.breaker.share
        rate = None if share is None else max(RAMP_LEAST_PER_S, share * self._former.per_s())
        if rate != self._ramp.rate_per_s:
            self._ramp.set_rate(rate, self._clock.now_s())
        self._tell(before)

    def free(self, in_flight: int, entry: VendorPlan | None, me: str) -> int:
        """How many calls may begin now: free permits, the rate's share, probes only while half-open, from one actor."""
        now_s = self._clock.now_s()
        if now_s < self._pause_until_s:
            return 0
        free = self.concurrency.value - in_flight
        match self.breaker.state:
            case BreakerState.OPEN | BreakerState.FORCED_OPEN:
                return 0
            case BreakerState.HALF_OPEN:
                if entry is not None and entry.prober not in (None, me):
                    return 0
                if self.breaker.share is None:
                    free = min(free, self._limits.half_open_calls - in_flight)
        for bucket in (self.bucket, self._ramp):
            tokens = bucket.available(now_s)
            free = free if tokens is None else min(free, tokens)
        return free

    def wait_s(self) -> float:
        """When it is worth asking again, at most 50 ms."""
        waits = [b.wait_s() for b in (self.bucket, self._ramp) if b.rate_per_s is not None]
        return min(0.05, max([0.001, *waits])) if waits else 0.05

    def takes_max(self) -> int:
        """How many claims of the dead may be taken at once. They are paid for afterwards, so that waiting for permits
        behind all that is queued does not keep them back; a burst's worth at most, so that the contract holds."""
        burst = self.bucket.burst
        return TAKES_MAX if burst is None else min(TAKES_MAX, burst)

    def spend(self, calls: int) -> None:
        """So many calls begin."""
        self.bucket.spend(calls)
        self._ramp.spend(calls)
        if self.breaker.state is BreakerState.CLOSED:
            self._former.note(calls, self._clock.now_s())

    def give_back(self) -> None:
        """One of them was not made after all."""
        self.bucket.give_back()
        self._ramp.give_back()

    def acquire(self, key: str | None = None) -> Permit | None:
        """Leave to make one call, to `key` where calls have one."""
        now_ns = self._now_ns()
        if self.keys is not None and key is not None:
            permit = self.keys.acquire(key, now_ns)
        else:
            permit = self.breaker.acquire(now_ns)
        return permit if isinstance(permit, Permit) else None

    def cut_off_for_s(self, key: str | None) -> float | None:
        """For how long only calls to `key` may not begin; None: it is not refused, or everything is."""
        if self.keys is None or key is None:
            return None
        wait_ns = self.keys.cut_off_for_ns(key, self._now_ns())
        return None if wait_ns is None else wait_ns / 1e9

    def cut_off(self) -> dict[str, CutOff]:
        """Countries that this vendor does not reach though it reaches others."""
        return {} if self.keys is None else self.keys.cut_off(self._now_ns())

    def evidence(self) -> dict[str, int] | None:
        """What of the breaker's window may be summed with other replicas'; None: all of it."""
        if self.keys is None:
            return None
        counts = self.keys.evidence(self._now_ns())
        return {"n": counts.n, "failed": counts.failed}

    # ---- after it

    def record(
        self, permit: Permit, outcome: Outcome | None, took_s: float, in_flight: int, first_to: str | None = None
    ) -> None:
        """Tell the breaker before anyone can see the failure. No outcome: the call was not made or was cancelled.

        `first_to` is the recipient of a message that no vendor was asked for before; see `core.breaker.refusals`.
        """
        before, now_ns = self.breaker.state, self._now_ns()
        late = permit.generation != self.breaker.generation
        result, took_ns = self._result(outcome), int(took_s * 1e9)
        if self.keys is not None:
            of_key = outcome is not None and outcome.scope is Scope.ROUTE
            self.keys.record(permit, BreakerResult.FAILURE if of_key else result, took_ns, now_ns, of_key)
        else:
            self.breaker.record(permit, result, took_ns, now_ns)
        if outcome is not None and not late:
            self._weigh_refusal(outcome, first_to, now_ns)
        if outcome is not None and not late:  # what began in another state of the breaker says nothing of this one
            self._learn(outcome.kind, took_s, in_flight)
            self.unreached = self.unreached + 1 if outcome.local_origin else 0
            if outcome.scope is Scope.ACCOUNT and outcome.kind is OutcomeKind.FAILED:
                self._open_for_account(outcome.retry_after_s, now_ns)
            else:
                self._count_throttles(outcome.kind)
                wait_s = self._asked_wait_s(outcome)
                if wait_s is not None:
                    self._heed(wait_s, now_ns)
        self._tell(before)

    def _result(self, outcome: Outcome | None) -> BreakerResult:
        if outcome is None or outcome.reason == OUR_BUG:
            return BreakerResult.LOCAL
        if outcome.kind is OutcomeKind.FAILED and outcome.scope in (Scope.ROUTE, Scope.UNLISTED):
            probe_failed = self._opened_by_refusals and self.breaker.state is BreakerState.HALF_OPEN
            return BreakerResult.FAILURE if probe_failed and outcome.scope is Scope.UNLISTED else BreakerResult.IGNORED
        return _RESULTS[outcome.kind]

    def _weigh_refusal(self, outcome: Outcome, first_to: str | None, now_ns: int) -> None:
        if outcome.kind is OutcomeKind.ACCEPTED:
            self._refused.on_success(now_ns)
            if self.breaker.state is BreakerState.CLOSED:
                self._opened_by_refusals = False
        elif outcome.scope is Scope.UNLISTED and first_to is not None and self._refused.on_refusal(first_to, now_ns):
            self.refuse_all("refuses every recipient", now_ns)

    def refuse_all(self, reason: str, now_ns: int) -> None:
        """Open: what this vendor refuses is not the messages' fault. Probes that it refuses keep it open."""
        self._opened_by_refusals = True
        self.breaker.trip(now_ns, reason)

    def open_by_plan(self, wait_s: float) -> None:
        """The evidence of all replicas, and of other vendors, was enough where this one's alone was not."""
        refused_by_words = self._refused.seen
        self._opened_by_refusals = self._opened_by_refusals or refused_by_words
        self.breaker.force_open_for(int(wait_s * 1e9), self._now_ns(), "the evidence of all replicas")

    def _open_for_account(self, listed_s: float | None, now_ns: int) -> None:
        """The vendor said no to our account. The wait of its word may be longer than the breaker's own longest."""
        wait_s = max(min(ACCOUNT_OPEN_S, self.breaker.config.open_wait_ms_max / 1000), listed_s or 0.0)
        if self.breaker.state in (BreakerState.CLOSED, BreakerState.HALF_OPEN):
            self.breaker.force_open_for(int(wait_s * 1e9), now_ns, "account refused")

    def _learn(self, kind: OutcomeKind, took_s: float, in_flight: int) -> None:
        """How much the vendor carries; of this state of the breaker only, for a recovering vendor is another one."""
        now_s = self._clock.now_s()
        match kind:
            case OutcomeKind.ACCEPTED | OutcomeKind.REJECTED | OutcomeKind.DEFERRED:
                self.concurrency.answered(took_s, in_flight, now_s)
            case OutcomeKind.THROTTLED:
                self.concurrency.throttled(now_s)
            case OutcomeKind.UNKNOWN:
                self.concurrency.unanswered(now_s)

    def _count_throttles(self, kind: OutcomeKind) -> None:
        if kind is OutcomeKind.THROTTLED:
            self._throttles += 1
        elif kind in (OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.DEFERRED):
            self._throttles = 0

    def _asked_wait_s(self, outcome: Outcome) -> float | None:
        """The vendor's own word, and more than that from one that throttles again and again."""
        if outcome.kind is not OutcomeKind.THROTTLED:
            return outcome.retry_after_s
        over = self._throttles - THROTTLES_OPEN
        # In a row and over the limit: 2, 4, 8 … s. Before that a short pause for all: it said no to the account.
        grown_s = min(HINT_OPENS_S * 2.0 ** min(over, 10), 60.0) if over >= 0 else min(0.02 * 2.0**self._throttles, 1.0)
        return max(outcome.retry_after_s or 0.0, grown_s)

    def _heed(self, wait_s: float, now_ns: int) -> None:
        """The vendor said when to come back."""
        if wait_s >= HINT_OPENS_S:
            self.breaker.open_for(int(wait_s * 1e9), now_ns, "retry after")
        else:
            self._pause_until_s = max(self._pause_until_s, self._clock.now_s() + wait_s)

    def _tell(self, before: BreakerState) -> None:
        if self.breaker.state is not before:
            self._on_change()

    def _now_ns(self) -> int:
        return int(self._clock.now_s() * 1e9)


_RESULTS = {
    OutcomeKind.ACCEPTED: BreakerResult.SUCCESS,
    OutcomeKind.REJECTED: BreakerResult.IGNORED,
    OutcomeKind.DEFERRED: BreakerResult.IGNORED,
    OutcomeKind.THROTTLED: BreakerResult.THROTTLED,
    OutcomeKind.FAILED: BreakerResult.FAILURE,
    OutcomeKind.UNKNOWN: BreakerResult.FAILURE,
    OutcomeKind.NOT_PERMITTED: BreakerResult.LOCAL,
}
