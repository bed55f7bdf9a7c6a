"""Permits: how much a vendor actor may send now, and how each outcome changes that.

This module has the state between a vendor and its calls: the breaker, the contract rate, the growing share of a
recovering vendor, the concurrency, and the wait that the vendor asked for. Each actor has its own state, in memory
only. No code here waits or does IO.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.per_country import CutOff, KeyedBreakers
from dispatcher.core.breaker.refusals import RefusedRecipients
from dispatcher.core.breaker.values import BreakerResult, Permit
from dispatcher.core.life.outcome import OUR_BUG, Outcome, OutcomeKind, Scope
from dispatcher.core.limits.concurrency import AdaptiveLimit
from dispatcher.core.limits.token_bucket import RecentRate, TokenBucket
from dispatcher.core.plan.values import VendorPlan
from dispatcher.ports import Clock

ACCOUNT_OPEN_S = 60.0
"""The time in seconds for which the breaker opens after an account refusal.

A wrong key is not repaired within seconds. One probe a minute finds out when the account works again.
"""

HINT_OPENS_S = 2.0
"""The shortest wait in seconds for which the breaker opens, if a vendor asks to wait.

Then another vendor of the chain gets the work. If the vendor asks for less, this actor only pauses.
"""

THROTTLES_OPEN = 10
"""The number of throttled calls in a row after which the breaker opens, even if the vendor never asked for a wait."""

RAMP_LEAST_PER_S = 2.0
"""The lowest rate of a ramp, in calls a second.

If there was little traffic before, shares of it would be too low to recover.
"""

TAKES_MAX = 50


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The limits of one actor's calls."""

    rate_per_s: float | None = None
    """The contract rate in calls a second, of which the plan gives this actor a share; None if there is none."""
    concurrency_min: int = 8
    concurrency_max: int = 64
    half_open_calls: int = 5


class Gate:
    """Decides how many calls one vendor actor may begin now."""

    def __init__(
        self,
        breaker: Breaker,
        limits: GateLimits,
        clock: Clock,
        *,
        on_change: Callable[[], None] = lambda: None,
        keys: KeyedBreakers | None = None,
    ) -> None:
        """Begin with the given breaker. `on_change` is called at once when the breaker's state has changed.

        `keys` are the breakers by country, or None if the vendor has only one breaker.
        """
        self.breaker, self.keys = breaker, keys
        self.bucket = TokenBucket(None, clock.now_s())
        self.concurrency = AdaptiveLimit(
            min(limits.concurrency_min, limits.concurrency_max), limits.concurrency_max, clock.now_s()
        )
        self.unreached = 0  # failures in a row before the vendor was reached
        self._ramp = TokenBucket(None, clock.now_s())
        self._former = RecentRate(clock.now_s())
        self._pause_until_s = 0.0
        self._throttles = 0  # in a row, over all messages
        self._refused = RefusedRecipients(
            breaker.config.window_size * 1_000_000_000 if breaker.config.window_type == "TIME" else 10_000_000_000,
            int(clock.now_s() * 1e9),
        )
        self._opened_by_refusals = False  # if so, a refused probe is a failed probe
        self._limits, self._clock, self._on_change = limits, clock, on_change

    # ---- before a call

    def follow(self, entry: VendorPlan | None, me: str) -> None:
        """Use this actor's share of the contract rate from the plan.

        An actor that no plan names yet sends nothing, because the vendor's other actors may use the whole rate.
        """
        if entry is None:
            rate = None if self._limits.rate_per_s is None else 0.0
        else:
            rate = None if entry.shares is None else entry.shares[me].per_s if me in entry.shares else 0.0
        self.bucket.set_rate(rate, self._clock.now_s())

    def tick(self) -> None:
        """Let time pass for the breaker. If its state changes, `on_change` is called."""
        before = self.breaker.state
        (self.keys or self.breaker).tick(self._now_ns())
        share = self.breaker.share
        rate = None if share is None else max(RAMP_LEAST_PER_S, share * self._former.per_s())
        if rate != self._ramp.rate_per_s:
            self._ramp.set_rate(rate, self._clock.now_s())
        self._tell(before)

    def free(self, in_flight: int, entry: VendorPlan | None, me: str) -> int:
        """Return how many calls may begin now. The concurrency limit, the breaker and the rate limit this number.

        `in_flight` is how many calls this actor has open, and `me` is its incarnation. `entry` is the vendor's part of
        the plan. While the breaker is half open, only the incarnation that `entry` names may probe.
        """
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
        """Return how many seconds to wait before `free` is asked again, at most 0.05."""
        waits = [b.wait_s() for b in (self.bucket, self._ramp) if b.rate_per_s is not None]
        return min(0.05, max([0.001, *waits])) if waits else 0.05

    def takes_max(self) -> int:
        """Return how many claims of dead incarnations may be taken at once: at most a burst of the contract rate.

        Such claims may be taken even if no permit is left, so they do not wait behind everything that is queued. The
        permits of these claims are subtracted afterwards.
        """
        burst = self.bucket.burst
        return TAKES_MAX if burst is None else min(TAKES_MAX, burst)

    def spend(self, calls: int) -> None:
        """Subtract the permits of `calls` calls that begin now."""
        self.bucket.spend(calls)
        self._ramp.spend(calls)
        if self.breaker.state is BreakerState.CLOSED:
            self._former.note(calls, self._clock.now_s())

    def give_back(self) -> None:
        """Give back the permit of one call that did not begin after all."""
        self.bucket.give_back()
        self._ramp.give_back()

    def acquire(self, key: str | None = None) -> Permit | None:
        """Return a permit for one call, or None if the call is refused now.

        `key` is the country of the recipient, if the vendor has breakers by country.
        """
        now_ns = self._now_ns()
        if self.keys is not None and key is not None:
            permit = self.keys.acquire(key, now_ns)
        else:
            permit = self.breaker.acquire(now_ns)
        return permit if isinstance(permit, Permit) else None

    def cut_off_for_s(self, key: str | None) -> float | None:
        """Return the seconds until calls to `key` (a recipient's country) are allowed again.

        Return None if calls to this country are allowed, or if the vendor's breaker refuses the calls to all countries.
        """
        if self.keys is None or key is None:
            return None
        wait_ns = self.keys.cut_off_for_ns(key, self._now_ns())
        return None if wait_ns is None else wait_ns / 1e9

    def cut_off(self) -> dict[str, CutOff]:
        """Return the countries that this vendor does not reach although it reaches others."""
        return {} if self.keys is None else self.keys.cut_off(self._now_ns())

    def evidence(self) -> dict[str, int] | None:
        """Return the results that the supervisor may add to those of other replicas: `n` calls, of which `failed`
        failed.

        The results that `KeyedBreakers.evidence` names are left out. The answer None means that the supervisor may add
        the breaker's whole window.
        """
        if self.keys is None:
            return None
        counts = self.keys.evidence(self._now_ns())
        return {"n": counts.n, "failed": counts.failed}

    # ---- after it

    def record(
        self, permit: Permit, outcome: Outcome | None, duration_s: float, in_flight: int, *, first_to: str | None = None
    ) -> None:
        """Record the outcome of a call at the breaker, before anything else uses the outcome.

        `outcome` None means that the call was not made, or was cancelled. `first_to` is the recipient if no other
        vendor was asked before to send this message (`core.breaker.refusals`), and None otherwise.
        """
        before, now_ns = self.breaker.state, self._now_ns()
        late = permit.generation != self.breaker.generation
        result, duration_ns = self._result(outcome), int(duration_s * 1e9)
        if self.keys is not None:
            of_key = outcome is not None and outcome.scope is Scope.ROUTE
            self.keys.record(permit, BreakerResult.FAILURE if of_key else result, duration_ns, now_ns, of_key=of_key)
        else:
            self.breaker.record(permit, result, duration_ns, now_ns)
        if outcome is not None and not late:  # a call from another breaker state says nothing now
            self._weigh_refusal(outcome, first_to, now_ns)
            self._learn(outcome.kind, duration_s, in_flight)
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
        """Open the breaker, because the vendor refuses everything and the messages are not at fault.

        Later, while the breaker is half open, a refused probe counts as a failure and opens the breaker again.
        """
        self._opened_by_refusals = True
        self.breaker.trip(now_ns, reason)

    def refuse_account(self) -> None:
        """Open the breaker in the way that a refusal of our account opens it. The caller has learned from receipts that
        the vendor refuses our account.
        """
        self._open_for_account(None, self._now_ns())

    def refuse_country(self, country: str) -> None:
        """Cut off a country, because the vendor's receipts refuse messages to it. If no other country works, open the
        breaker.

        Without breakers by country nothing is changed. An answer that refuses a country then changes nothing either.
        """
        now_ns = self._now_ns()
        if self.keys is not None and not self.keys.refuse(country, now_ns):
            self.refuse_all("refuses by receipts", now_ns)

    def open_by_plan(self, wait_s: float) -> None:
        """Open the breaker for `wait_s` seconds, because the plan says so.

        The supervisor adds up the failures that all replicas of this vendor saw. Their sum may be too high although
        this replica alone saw too few failures to open its breaker.
        """
        refused_by_words = self._refused.seen
        self._opened_by_refusals = self._opened_by_refusals or refused_by_words
        self.breaker.force_open_for(int(wait_s * 1e9), self._now_ns(), "the evidence of all replicas")

    def _open_for_account(self, listed_s: float | None, now_ns: int) -> None:
        """Open the breaker after the vendor has refused our account.

        `listed_s` is the wait that our list has for the vendor's code, or None. This wait may be longer than the
        breaker's longest wait.
        """
        wait_s = max(min(ACCOUNT_OPEN_S, self.breaker.config.open_wait_ms_max / 1000), listed_s or 0.0)
        if self.breaker.state in (BreakerState.CLOSED, BreakerState.HALF_OPEN):
            self.breaker.force_open_for(int(wait_s * 1e9), now_ns, "account refused")

    def _learn(self, kind: OutcomeKind, duration_s: float, in_flight: int) -> None:
        """Adapt the concurrency limit to the outcome `kind` of a call that took `duration_s` seconds."""
        now_s = self._clock.now_s()
        match kind:
            case OutcomeKind.ACCEPTED | OutcomeKind.REJECTED | OutcomeKind.DEFERRED:
                self.concurrency.answered(duration_s, in_flight, now_s)
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
        """Return the wait in seconds before the next call, or None if the vendor asked for none.

        After a throttled call there always is a wait, even if the vendor named none. The wait grows if calls are
        throttled again and again.
        """
        if outcome.kind is not OutcomeKind.THROTTLED:
            return outcome.retry_after_s
        over = self._throttles - THROTTLES_OPEN
        # Above the limit in a row the wait is 2, 4, 8 … s. Below, all calls pause briefly: the account is throttled.
        grown_s = min(HINT_OPENS_S * 2.0 ** min(over, 10), 60.0) if over >= 0 else min(0.02 * 2.0**self._throttles, 1.0)
        return max(outcome.retry_after_s or 0.0, grown_s)

    def _heed(self, wait_s: float, now_ns: int) -> None:
        """Obey a wait of the vendor: open the breaker if the wait is long, and pause if it is short."""
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
