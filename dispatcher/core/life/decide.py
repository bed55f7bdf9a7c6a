"""Pure decisions about the next place of a notification.

Rules:

1. Every decision puts the notification in exactly one place: settled, dead, another mailbox, `due`, or held.
2. A notification is ended by its time to live. A budget counts only tries that may have arrived (`unknown`), for each
   of those may be a repeat; whatever surely sent nothing costs no attempt.
3. A vendor is tried once per round; a round ends when each of the chain was tried. When no usable vendor is untried,
   the message waits, longer each time, and then goes to a usable one again: waiting for one that is down would bind it
   to that return. With all down, the untried come first, and no wait is longer than `ALL_DOWN_CAP_S`.
4. A refusal is final only as `rejected`. Any other moves the message on. When every vendor of the chain has refused
   the message itself, it waits on the schedule of `refused_wait_s`, minutes and then hours.
5. `unknown` under `hold` never leads to another send: it is held until proof or its deadline.
6. No wait ends after the time to live. The last wait is shortened, so that one more try fits in. After that try the
   notification is a dead letter `expired`, or `refused_by_all`.
7. A move without an attempt happens once per plan epoch. Instead of a second one, the notification goes to `due`. So
   two vendors that are down cannot send a notification back and forth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dispatcher.core.life.notification import Attempt, Notification, State, Trail
from dispatcher.core.life.outcome import Outcome, OutcomeKind, Scope
from dispatcher.core.life.retry import RetryPolicy, backoff_s, refused_wait_s, within_life_ms

ALL_DOWN_CAP_S = 15.0
"""The longest wait while no vendor of the chain works: after it the message is in a mailbox, where a probe finds it."""

Usable = Callable[[str], bool]

REFUSED_BY_ALL = "refused_by_all"
"""The reason of a wait, and of an expiry during that wait, when every vendor of the chain refused the message."""

CUT_OFF_WAIT_S_MAX = 10.0
"""The longest wait for a country that is cut off, in seconds. By then another vendor may be back."""

REFUSED_WAIT_S = 1.0
"""A notification without a vendor that may be sent it waits 1 to 2 times this long: probes are seconds apart anyway."""

CRASHES_MAX = 3
"""An entry is poison when its owners have died this often."""

ALONE_FROM = 2
"""After this many crashes a notification is sent alone, so only this notification is suspected of the next crash.

So poison does not condemn the notifications beside it. The first crash is not enough: after every kill all calls in
flight would be sent one by one, and most kills are no notification's fault.
"""


@dataclass(frozen=True, slots=True)
class Settle:
    """End the notification: the vendor accepted it."""

    attempt: Attempt | None
    attempts: int
    urgent = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Stop trying, and keep the notification as a dead letter for an operator."""

    reason: str
    attempt: Attempt | None
    attempts: int
    urgent = True


@dataclass(frozen=True, slots=True)
class Move:
    """Move the notification to the mailbox of `vendor`. `epoch` is set for a move that cost no attempt."""

    vendor: str
    trail: Trail
    attempt: Attempt | None
    attempts: int
    epoch: int = 0
    urgent = True


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `wait_ms`. The store turns this duration into a time, so no clock that jumps can lengthen it."""

    wait_ms: int
    trail: Trail
    attempt: Attempt | None
    attempts: int
    reason: str = ""
    urgent = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold a notification that was maybe sent for `wait_ms`, until there is proof. At 0 or less no time is left."""

    wait_ms: int
    attempt: Attempt | None
    attempts: int
    urgent = True


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove and count an entry that has no notification."""

    reason: str
    urgent = False


Decision = Settle | Dead | Move | Retry | Hold | Drop


@dataclass(frozen=True, slots=True)
class Situation:
    """The facts that an actor of `vendor` has when it decides.

    `usable` tells whether another vendor works; `chance` in [0, 1) is the caller's randomness; `epoch` is the plan's.
    """

    vendor: str
    usable: Usable
    policy: RetryPolicy
    now_ms: int
    chance: float
    epoch: int = 0

    def next_of(self, n: Notification, tried: tuple[str, ...]) -> str | None:
        """Return the first usable vendor of the chain that is not in `tried` and not this one."""
        others = (name for name in n.chain if name != self.vendor and name not in tried)
        return next((name for name in others if self.usable(name)), None)


def goes_alone(notification: Notification) -> bool:
    """Return True if the notification is suspected of killing its actors, so that it must be sent alone."""
    return ALONE_FROM <= notification.crashes < CRASHES_MAX


def decide_before(notification: Notification, now_ms: int, policy: RetryPolicy) -> Decision | None:
    """Return the end of a notification whose time is over or that kills its actors. None means: go on to the call.

    A claim with the start mark of `hold` was found by the audit. Its send was cut off, so it is maybe sent and is held.
    """
    if notification.on_unknown == "hold" and notification.state is State.STARTED:
        return _held(notification, None, notification.attempts, policy, now_ms=now_ms)
    if now_ms >= notification.expires_ms:
        return Dead(_expiry_reason(notification.trail), None, notification.attempts)
    if notification.crashes >= CRASHES_MAX:
        return Dead("poison", None, notification.attempts)
    return None


def decide_after(n: Notification, outcome: Outcome, attempt: Attempt, at: Situation) -> Decision:
    """Return where a notification goes after one call to the vendor ended with `outcome`."""
    match outcome.kind:
        case OutcomeKind.ACCEPTED:
            return Settle(attempt, n.attempts + 1)
        case OutcomeKind.REJECTED:
            return Dead(outcome.reason, attempt, n.attempts)
        case OutcomeKind.THROTTLED:
            return _after_throttle(n, outcome, attempt, at)
        case OutcomeKind.UNKNOWN if n.on_unknown == "hold":
            return _held(n, attempt, n.attempts + 1, at.policy, now_ms=at.now_ms)
        case _:
            return _after_failure(n, outcome, attempt, at)


def _after_throttle(n: Notification, outcome: Outcome, attempt: Attempt, at: Situation) -> Decision:
    """Return a retry after the wait that the vendor asked for, or a move if the time to live ends before that."""
    wait_s = backoff_s(1, at.policy, at.chance, outcome.retry_after_s)
    if at.now_ms + wait_s * 1000 >= n.expires_ms:
        trail = n.trail.after(at.vendor)
        name = at.next_of(n, trail.tried)
        if name is not None:
            return Move(name, trail, attempt, n.attempts)
    return _later(n, wait_s, n.trail, attempt, attempts=n.attempts, now_ms=at.now_ms)


def _after_failure(n: Notification, outcome: Outcome, attempt: Attempt, at: Situation) -> Decision:
    attempts = n.attempts + (outcome.kind is OutcomeKind.UNKNOWN)
    if attempts >= at.policy.attempts_max:
        return Dead("attempts_exhausted", attempt, attempts)
    trail = n.trail.after(at.vendor, outcome.refuses_message, outcome.scope is Scope.UNLISTED)
    name = at.next_of(n, trail.tried)
    if name is not None:
        return Move(name, trail, attempt, attempts)
    if trail.refused and all(name in trail.refused for name in n.chain):
        wait_s = refused_wait_s(trail.refusals, at.policy, at.chance)
        return _later(
            n, wait_s, trail.next_round(refusals=1), attempt, attempts=attempts, now_ms=at.now_ms, reason=REFUSED_BY_ALL
        )
    policy = at.policy
    if not any(at.usable(name) for name in n.chain):  # nobody is called too often: breakers are open
        policy = replace(policy, cap_s=min(policy.cap_s, ALL_DOWN_CAP_S))
    wait_s = backoff_s(trail.waits + 1, policy, at.chance, outcome.retry_after_s)
    return _later(n, wait_s, trail.after_wait(n.chain), attempt, attempts=attempts, now_ms=at.now_ms)


def decide_broken(n: Notification, at: Situation) -> Decision:
    """Return where a notification goes if our own code failed right after its call: it was maybe sent."""
    attempts = n.attempts + 1
    if n.on_unknown == "hold":
        return _held(n, None, attempts, at.policy, now_ms=at.now_ms)
    if attempts >= at.policy.attempts_max:
        return Dead("attempts_exhausted", None, attempts)
    return _later(n, backoff_s(attempts, at.policy, at.chance), n.trail, None, attempts=attempts, now_ms=at.now_ms)


def decide_refused(n: Notification, at: Situation) -> Decision:
    """Return where a notification goes if this vendor must not be called now. It costs no attempt."""
    if n.moved_epoch != at.epoch:
        name = at.next_of(n, n.tried)
        if name is not None:
            return Move(name, n.trail, None, n.attempts, at.epoch)
    return _later(n, REFUSED_WAIT_S * (1 + at.chance), n.trail, None, attempts=n.attempts, now_ms=at.now_ms)


def decide_cut_off(n: Notification, cut_off_s: float, at: Situation) -> Decision:
    """Return where a notification goes if this vendor does not reach its country but reaches others.

    The vendor counts as tried, but no attempt is spent. Otherwise the plan, which does not know of the cut-off, would
    lead the notification back here. Without another vendor it waits for about `cut_off_s`, the time until the country
    is probed again. So many such notifications do not become a hot loop.
    """
    trail = n.trail.after(at.vendor)
    name = at.next_of(n, trail.tried)
    if name is not None:
        return Move(name, trail, None, n.attempts)
    if all(name in trail.tried for name in n.chain):
        trail = trail.next_round()
    wait_s = min(CUT_OFF_WAIT_S_MAX, max(REFUSED_WAIT_S, cut_off_s)) * (1 + at.chance)
    return _later(n, wait_s, trail, None, attempts=n.attempts, now_ms=at.now_ms)


def decide_adopted(n: Notification, at: Situation) -> Decision | None:
    """Return None if the adopter of a mailbox may send this notification, or where it goes otherwise.

    An adopter sends only notifications that have its vendor in their chain, untried. It moves the others.
    """
    if at.vendor in n.chain and at.vendor not in n.tried:
        return None
    return decide_refused(n, at)


def waiting_reason(trail: Trail) -> str | None:
    """Return why a notification in `due` waits, or None if the reason is not known."""
    return REFUSED_BY_ALL if trail.refusals and not trail.tried else None


def decide_mailbox(
    chain: tuple[str, ...], tried: tuple[str, ...], usable: Usable, recovering: Usable, *, known: Usable
) -> str | None:
    """Return the mailbox for a due notification: of a usable vendor, else of a recovering one, else of any known one.

    None means that no vendor of the chain is known. Among equals the untried vendors come first. Usable is more
    important than untried. Otherwise the notification could go to the mailbox of a vendor that is down. If the adopter
    of that mailbox has tried it already, it would refuse the notification again and again.
    """
    names = [name for name in chain if known(name)]
    for fits in (usable, recovering, known):
        fitting = sorted((name for name in names if fits(name)), key=lambda name: name in tried)
        if fitting:
            return fitting[0]
    return None


def _held(n: Notification, attempt: Attempt | None, attempts: int, policy: RetryPolicy, *, now_ms: int) -> Hold:
    return Hold(min(n.expires_ms - now_ms, int(policy.hold_s * 1000)), attempt, attempts)


def _expiry_reason(trail: Trail) -> str:
    return waiting_reason(trail) or "expired"


def _later(
    n: Notification,
    wait_s: float,
    trail: Trail,
    attempt: Attempt | None,
    *,
    attempts: int,
    now_ms: int,
    reason: str = "",
) -> Decision:
    wait_ms = within_life_ms(max(1, int(wait_s * 1000)), n.expires_ms - now_ms)
    if wait_ms is None:
        return Dead(_expiry_reason(trail), attempt, attempts)
    return Retry(wait_ms, trail, attempt, attempts, reason)
