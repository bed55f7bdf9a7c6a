"""Pure decisions about where a notification goes next.

Rules:

1. Every decision puts the notification in exactly one place: settled, dead, another mailbox, `due`, or held.
2. The time to live ends a notification. There is also a budget of attempts, and only an `unknown` outcome uses it up:
   such a call may have sent the message, so the next call may be a repeat. A call that surely sent nothing costs no
   attempt.
3. A vendor is tried once per round. A round ends when every vendor of the chain has been tried. If no usable vendor is
   untried, the notification waits, longer each time, and then goes to a usable vendor again. It never waits for a
   particular vendor that is down, because that vendor may not come back. If all vendors are down, the notification goes
   to an untried one first, and no wait is longer than `ALL_DOWN_CAP_S`.
4. Only a `rejected` outcome is a final refusal. After any other refusal the notification moves to the next vendor. If
   every vendor of the chain has refused the message itself, it waits for minutes and then hours (`refused_wait_s`).
5. An `unknown` outcome under `hold` never leads to another send. The notification is held until there is proof, or
   until its deadline.
6. No wait ends after the time to live. The last wait is shortened, so that one more try fits in. After that try the
   notification is a dead letter with the reason `expired` or `refused_by_all`.
7. In one plan epoch, a notification moves only once without an attempt. Instead of a second such move it goes to `due`.
   So two vendors that are down cannot send a notification back and forth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dispatcher.core.life.notification import Attempt, Notification, State, Trail
from dispatcher.core.life.outcome import Outcome, OutcomeKind, Scope
from dispatcher.core.life.retry import RetryPolicy, backoff_s, refused_wait_s, within_life_ms

ALL_DOWN_CAP_S = 15.0
"""The longest wait in seconds while no vendor of the chain works.

After the wait the notification is in a mailbox again. There a probe can find it when a vendor is back.
"""

Usable = Callable[[str], bool]

REFUSED_BY_ALL = "refused_by_all"
"""The reason of the wait after every vendor of the chain has refused the message.

If the time to live ends during that wait, the dead letter has this reason too.
"""

CUT_OFF_WAIT_S_MAX = 10.0
"""The longest wait in seconds for a country that is cut off. By then another vendor may be back."""

REFUSED_WAIT_S = 1.0
"""The shortest wait in seconds of a notification that no vendor may be called for now; the longest is twice as long.

A shorter wait would bring nothing, because probes are seconds apart.
"""

CRASHES_MAX = 3
"""The number of crashes after which a notification becomes a dead letter with the reason `poison`.

Only crashes of actors that had claimed the notification count.
"""

ALONE_FROM = 2
"""The number of crashes after which a notification is sent alone.

Then only this notification is suspected of the next crash, and not the ones that would have been sent beside it. With 1
instead of 2, all calls that were in flight would be sent one by one after every kill. Yet most kills are no
notification's fault.
"""


@dataclass(frozen=True, slots=True)
class Settle:
    """End the notification, because the vendor accepted it.

    `reopens_ms` is for how long the store keeps the notification's content, so that a refusal by receipt can reopen the
    notification. 0 means that the content is deleted with the last notification of its trigger.
    """

    attempt: Attempt | None
    attempts: int
    reopens_ms: int = 0
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
    """Move the notification to the mailbox of `vendor`.

    `epoch` is the plan's epoch if the move cost no attempt, and 0 otherwise.
    """

    vendor: str
    trail: Trail
    attempt: Attempt | None
    attempts: int
    epoch: int = 0
    urgent = True


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `wait_ms`.

    The store adds this duration to its own time. So a clock that jumps cannot make the wait longer.
    """

    wait_ms: int
    trail: Trail
    attempt: Attempt | None
    attempts: int
    reason: str = ""
    urgent = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold a notification that was maybe sent. The notification waits `wait_ms` for proof; 0 or less means no time is
    left.
    """

    wait_ms: int
    attempt: Attempt | None
    attempts: int
    urgent = True


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove an entry that belongs to no notification, and count it."""

    reason: str
    urgent = False


Decision = Settle | Dead | Move | Retry | Hold | Drop


@dataclass(frozen=True, slots=True)
class Situation:
    """The facts that an actor of `vendor` knows when it decides.

    `usable` tells whether a vendor works now. `chance` in [0, 1) is the caller's randomness. `epoch` is the plan's
    epoch.
    """

    vendor: str
    usable: Usable
    policy: RetryPolicy
    now_ms: int
    chance: float
    epoch: int = 0

    def next_of(self, n: Notification, tried: tuple[str, ...]) -> str | None:
        """Return the first usable vendor of the chain, without those in `tried` and without the actor's own vendor.

        Return None if there is no such vendor.
        """
        others = (name for name in n.chain if name != self.vendor and name not in tried)
        return next((name for name in others if self.usable(name)), None)


def goes_alone(notification: Notification) -> bool:
    """Return True if the notification is suspected of crashing its actors, so that it must be sent alone."""
    return ALONE_FROM <= notification.crashes < CRASHES_MAX


def decide_before(notification: Notification, now_ms: int, policy: RetryPolicy) -> Decision | None:
    """Return a decision if this notification must not be sent. None means that the vendor should be called.

    A notification must not be sent if its time to live is over, or if too many actors have crashed with it. If it has
    the start mark of `hold`, an earlier call began and was cut off. Such a notification was maybe sent, so it is held.
    """
    if notification.on_unknown == "hold" and notification.state is State.STARTED:
        return _held(notification, None, notification.attempts, policy, now_ms=now_ms)
    if now_ms >= notification.expires_ms:
        return Dead(_expiry_reason(notification.trail), None, notification.attempts)
    if notification.crashes >= CRASHES_MAX:
        return Dead("poison", None, notification.attempts)
    return None


def decide_after(n: Notification, outcome: Outcome, attempt: Attempt, at: Situation) -> Decision:
    """Return where a notification goes after one call to its vendor has ended with `outcome`.

    `attempt` goes into its history.
    """
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
    """Return the decision after a throttled call: a retry after the wait that the vendor asked for.

    If the time to live ends before that, return a move to the next usable vendor. If there is no such vendor, return an
    earlier retry that still fits into the time to live, or a dead letter.
    """
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
    """Return where a notification goes if our own code failed right after the call to the vendor.

    Such a notification counts as maybe sent. So it is held under `hold`, and tried again under `resend`.
    """
    attempts = n.attempts + 1
    if n.on_unknown == "hold":
        return _held(n, None, attempts, at.policy, now_ms=at.now_ms)
    if attempts >= at.policy.attempts_max:
        return Dead("attempts_exhausted", None, attempts)
    return _later(n, backoff_s(attempts, at.policy, at.chance), n.trail, None, attempts=attempts, now_ms=at.now_ms)


def decide_refused(n: Notification, at: Situation) -> Decision:
    """Return where a notification goes if this vendor must not be called now. This costs no attempt."""
    if n.moved_epoch != at.epoch:
        name = at.next_of(n, n.tried)
        if name is not None:
            return Move(name, n.trail, None, n.attempts, at.epoch)
    return _later(n, REFUSED_WAIT_S * (1 + at.chance), n.trail, None, attempts=n.attempts, now_ms=at.now_ms)


def decide_cut_off(n: Notification, cut_off_s: float, at: Situation) -> Decision:
    """Return where a notification goes if its vendor is cut off from the recipient's country but reaches other
    countries.

    The vendor counts as tried, but no attempt is spent. The plan does not know that the country is cut off, so without
    this it would send the notification back to this vendor. If there is no other vendor, the notification waits for
    about `cut_off_s`, the time until the country is probed again. Without this wait, many such notifications would be
    claimed and refused in an endless loop.
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
    """Return None if the adopter of a mailbox may send this notification, and otherwise where the notification goes.

    An adopter sends only notifications whose chain names its vendor and that its vendor has not tried yet. It moves all
    other notifications.
    """
    if at.vendor in n.chain and at.vendor not in n.tried:
        return None
    return decide_refused(n, at)


def waiting_reason(trail: Trail) -> str | None:
    """Return why a notification in `due` waits, or None if the reason is not known. `trail` is its progress along its
    chain.
    """
    return REFUSED_BY_ALL if trail.refusals and not trail.tried else None


def decide_mailbox(
    chain: tuple[str, ...], tried: tuple[str, ...], usable: Usable, recovering: Usable, *, known: Usable
) -> str | None:
    """Return the vendor into whose mailbox a due notification goes, or None if no vendor of its chain is known.

    A usable vendor is chosen first, then a recovering vendor, then any other known vendor. Within each of these groups
    an untried vendor comes first. So a usable vendor that was tried comes before an untried vendor that is down.
    Otherwise the notification could go to the mailbox of a vendor that is down, which another vendor drains. If that
    other vendor has already tried the notification, it would put the notification back into `due` again and again.
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
