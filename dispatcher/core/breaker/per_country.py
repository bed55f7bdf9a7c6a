"""One breaker for each key (a recipient's country) beside the vendor's own breaker. If the calls of one key fail, only
that key is cut off.

Rules:

1. A call needs two permits: of its key's breaker (the child) and of the vendor's breaker (the parent).
2. A child cuts off its key only while another key works. A key works if its breaker is closed and it had a success
   within `ALIVE_S`. If no key works, the fault is probably the vendor's. Then the parent alone decides by all results,
   as if there were no keys.
3. The parent does not count results of a child that is not closed. When a child opens, the parent also forgets that
   key's calls in flight. A child needs fewer calls than the parent before it may open, so the child always opens first.
   So a single bad key never opens the parent.
4. Children exist only while the parent is closed. Each transition of the parent removes them, also a transition from
   closed to closed.
5. There are at most `KEYS_MAX` children. A new key may replace a child that is as good as new: it is closed, no call is
   in flight, its window has no failed or slow result, and its earlier openings are forgotten. Of several such children,
   the one used longest ago is replaced. If there is none, the new key has no child. So many new keys cannot erase what
   is known about a bad key.
6. The supervisor adds up the parents' results of all replicas of the vendor. If a single key makes these results bad,
   the results of this key are left out (`evidence`). Otherwise the sum could open the vendor's breaker because of one
   bad key, even if no single replica has enough calls to open anything.

Children end with their process. After a crash each bad key has to be found again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dispatcher.core.breaker.breaker import Breaker
from dispatcher.core.breaker.config import MS_NS, SECOND_NS, BreakerConfig, BreakerState
from dispatcher.core.breaker.values import BreakerResult, Permit, Refused
from dispatcher.core.breaker.window import Counts, Rows, Window, window_of

KEYS_MAX = 64
ALIVE_S = 10


@dataclass(slots=True)
class _Child:
    breaker: Breaker
    told_parent: Window  # the parent's results that came from this key
    alive_ns: int | None = None  # the time of its last success
    flying: dict[Permit, Permit | None] = field(default_factory=dict)  # the parent's permit → the child's permit
    told: BreakerState = BreakerState.CLOSED
    left_closed_ns: int | None = None  # None: it is closed
    closed_ns: int = 0  # the time of its last closing, if it ever was not closed


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The change of one key's breaker to the state `to`. A key is a country. `reason` says why the breaker changed."""

    key: str
    to: BreakerState
    reason: str


@dataclass(frozen=True, slots=True)
class CutOff:
    """How a key (a recipient's country) is cut off while other keys work. `state` is open, or half-open while it is
    probed.
    """

    state: BreakerState
    for_s: float
    """The seconds since the key's breaker was last closed."""


def child_config(parent: BreakerConfig) -> BreakerConfig:
    """Return the settings of the breaker of one key (a recipient's country), the child: the vendor's settings with
    fewer calls needed for a decision.

    The needed number of calls is so small that the child of a bad key decides before the failures of this key alone can
    make the rates of the vendor's breaker bad. After good probes a child closes at once. It has no stages of growing
    shares, because the former rate of its key is not known. Half-open has no time limit: it lasts until enough calls
    were answered.
    """
    least = min(parent.failure_rate, parent.slow_rate) / 100 * parent.min_calls
    return replace(parent, min_calls=max(1, math.floor(least)), ramp=(), half_open_max_wait_ms=0)


class KeyedBreakers:
    """A breaker (the parent) and one child breaker for each key. All of them belong to one actor.

    Time is always an argument.
    """

    def __init__(self, parent: Breaker, chance: Callable[[], float] = lambda: 0.0) -> None:
        self.parent = parent
        self._config, self._chance = child_config(parent.config), chance
        self._children: dict[str, _Child] = {}  # ordered by last use, the oldest first
        self._key_of: dict[Permit, str] = {}
        self._changes: list[KeyChange] = []
        self._generation = parent.generation

    def acquire(self, key: str, now_ns: int) -> Permit | Refused:
        """Ask for a permit to call the vendor for the key `key`, and return the permit or a refusal.

        The key's own breaker (the child) and the vendor's breaker (the parent) must both allow the call. A refusal does
        not say which of them refused. If it was the child, `cut_off_for_ns(key, ...)` is not None.
        """
        if not self._apply():
            return self.parent.acquire(now_ns)
        child = self._child(key, now_ns)
        own = child.breaker.acquire(now_ns) if child is not None else None
        if child is not None:
            self._note(key, child, now_ns)
        if isinstance(own, Refused):
            if self._any_works(now_ns):
                return own
            own = None
        permit = self.parent.acquire(now_ns)  # granted, as the parent is closed
        if child is not None and isinstance(permit, Permit):
            child.flying[permit] = own
            self._key_of[permit] = key
        return permit

    def cut_off_for_ns(self, key: str, now_ns: int) -> int | None:
        """Return the nanoseconds until this key (a recipient's country) is probed again.

        Return None if the key's own breaker does not cut off the key.
        """
        child = self._children.get(key) if self._apply() else None
        if child is None or child.breaker.state is BreakerState.CLOSED or not self._any_works(now_ns):
            return None
        return child.breaker.retry_after_ns(now_ns)

    def record(
        self, permit: Permit, result: BreakerResult, duration_ns: int, now_ns: int, *, of_key: bool = False
    ) -> None:
        """Give the result of a call to two breakers: to the child, which is the breaker of the call's key (the
        recipient's country), and to the parent, which is the vendor's breaker.

        Rules 2 and 3 of this module say which of the two counts the result. `of_key` is True for a failure that is
        evidence only against the key. The parent never counts such a failure.
        """
        self._tick_children(now_ns)
        key = self._key_of.pop(permit, None)
        child = self._children.get(key) if key is not None else None
        if key is None or child is None:
            self.parent.record(permit, BreakerResult.IGNORED if of_key else result, duration_ns, now_ns)
            return
        own = child.flying.pop(permit, None)
        if own is not None:
            child.breaker.record(own, result, duration_ns, now_ns)
        if result is BreakerResult.SUCCESS and child.breaker.state is BreakerState.CLOSED:
            child.alive_ns = now_ns
        self._note(key, child, now_ns)
        if child.breaker.state is not BreakerState.CLOSED and self._any_works(now_ns):
            self.parent.release(permit)
            self._shield(child)
        elif of_key:
            self.parent.record(permit, BreakerResult.IGNORED, duration_ns, now_ns)
        else:
            self._tell_parent(child, permit, result, duration_ns, now_ns=now_ns)
        self._apply()

    def refuse(self, key: str, now_ns: int) -> bool:
        """Cut off this key because of evidence that is not in its window. Return False if no other key works.

        If the result is False, nothing is changed, because the fault is then probably the vendor's (rule 2). The result
        is False also if the parent is not closed.
        """
        self._tick_children(now_ns)
        if not self._apply() or not self._any_works(now_ns, besides=key):
            return False
        child = self._child(key, now_ns)
        if child is not None:
            child.breaker.trip(now_ns, "refused by receipts")
            self._note(key, child, now_ns)
            self._shield(child)
        return True

    def tick(self, now_ns: int) -> None:
        """Let time pass for the keys' breakers (children), and then for the vendor's breaker (parent).

        The children come first, so that they decide before the parent.
        """
        self._tick_children(now_ns)
        self.parent.tick(now_ns)
        self._apply()

    def cut_off(self, now_ns: int) -> dict[str, CutOff]:
        """Return the keys (recipients' countries) that are cut off or probed while other keys work. Each has its
        `CutOff`.
        """
        if not self._apply() or not self._any_works(now_ns):
            return {}
        return {
            key: CutOff(child.breaker.state, (now_ns - child.left_closed_ns) / SECOND_NS)
            for key, child in self._children.items()
            if child.breaker.state is not BreakerState.CLOSED and child.left_closed_ns is not None
        }

    def evidence(self, now_ns: int) -> Counts:
        """Return the results that the supervisor may add to those of other replicas (rule 6). A key is a recipient's
        country.

        While some key works, the results of keys whose breaker is not closed are left out. Then the key with the most
        failures is left out too, but only if the results of the other keys are good. If the failures are spread over
        several keys, or the vendor has only one key, these results count.
        """
        metrics = self.parent.metrics(now_ns)
        whole = Counts(metrics.buffered, metrics.failed, metrics.slow, metrics.slow_failed)
        if not self._apply():
            return whole
        told = [(child, child.told_parent.counts(now_ns)) for child in self._children.values()]
        if self._any_works(now_ns):
            for child, counts in told:
                if child.breaker.state is not BreakerState.CLOSED:
                    whole.subtract(counts)
        closed = (counts for child, counts in told if child.breaker.state is BreakerState.CLOSED)
        rest = replace(whole)
        rest.subtract(max(closed, key=lambda counts: counts.failed, default=Counts()))
        well = rest.n > 0 and rest.failed * 100 < self.parent.config.failure_rate * rest.n
        return rest if well else whole

    def drain_changes(self) -> list[KeyChange]:
        """Return the state changes of the keys' breakers since the previous call of this method, the earliest first."""
        changes, self._changes = self._changes, []
        return changes

    @property
    def known(self) -> int:
        return len(self._children)

    # ---- inside

    def _apply(self) -> bool:
        """Remove the keys' breakers (children) if the vendor's breaker (parent) has changed its state since they were
        made.

        Return True if children may exist now, which is while the parent is closed (rule 4).
        """
        if self._generation != self.parent.generation:
            self._generation = self.parent.generation
            self._children.clear()
            self._key_of.clear()
        return self.parent.state is BreakerState.CLOSED

    def _tick_children(self, now_ns: int) -> None:
        if not self._apply():
            return
        for key, child in self._children.items():
            if child.flying or child.breaker.state is not BreakerState.CLOSED:
                child.breaker.tick(now_ns)
                self._note(key, child, now_ns)
                if child.breaker.state is not BreakerState.CLOSED and self._any_works(now_ns):
                    self._shield(child)

    def _child(self, key: str, now_ns: int) -> _Child | None:
        child = self._children.pop(key, None)
        if child is None:
            if len(self._children) >= KEYS_MAX and not self._evict(now_ns):
                return None
            told = window_of(Rows(self._config.window_type, self._config.window_size), 0, now_ns)
            child = _Child(Breaker(self._config, now_ns, self._chance), told)
        self._children[key] = child
        return child

    def _evict(self, now_ns: int) -> bool:
        for key, child in self._children.items():
            if self._is_as_new(child, now_ns):
                del self._children[key]
                return True
        return False

    def _is_as_new(self, child: _Child, now_ns: int) -> bool:
        if child.flying or child.breaker.state is not BreakerState.CLOSED:
            return False
        found = child.breaker.metrics(now_ns)
        # Without a decay, closing forgets the openings. With one, the breaker itself forgets only when it opens again.
        forgets_ns = found.attempts * self._config.attempts_decay_ms * MS_NS
        return not found.failed and not found.slow and now_ns - child.closed_ns >= forgets_ns

    def _any_works(self, now_ns: int, besides: str | None = None) -> bool:
        since_ns = now_ns - ALIVE_S * SECOND_NS
        return any(
            child.alive_ns is not None and child.alive_ns >= since_ns and child.breaker.state is BreakerState.CLOSED
            for key, child in self._children.items()
            if key != besides
        )

    def _tell_parent(
        self, child: _Child, permit: Permit, result: BreakerResult, duration_ns: int, *, now_ns: int
    ) -> None:
        counts = result in (BreakerResult.SUCCESS, BreakerResult.FAILURE) and not permit.ended
        if counts and permit.generation == self.parent.generation:
            slow = duration_ns > self.parent.config.slow_ns
            child.told_parent.record(now_ns, result is BreakerResult.FAILURE, slow)
        self.parent.record(permit, result, duration_ns, now_ns)

    def _shield(self, child: _Child) -> None:
        """Make the vendor's breaker (the parent) forget this key's calls in flight, by releasing the permits that they
        hold.

        Then the results of these calls do not count against the vendor.
        """
        for permit in child.flying:
            self.parent.release(permit)

    def _note(self, key: str, child: _Child, now_ns: int) -> None:
        for event in child.breaker.drain_events():
            if event.to is not None and event.to is not child.told:
                if BreakerState.CLOSED in (child.told, event.to):
                    child.left_closed_ns = None if event.to is BreakerState.CLOSED else now_ns
                    child.closed_ns = now_ns
                child.told = event.to
                self._changes.append(KeyChange(key, event.to, event.reason))
