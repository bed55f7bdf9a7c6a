"""A notification's next place, decided from what is known and nothing else.

Rules:

1. Every decision puts the notification in exactly one place: settled, dead, another mailbox, `due`, or held.
2. A refusal (open breaker, no permit, throttled by the vendor) costs no attempt. Nor does a call that ended before the
   vendor was reached, or that surely failed while its vendor was being probed: through an outage of everything, what
   ends a message is its time, not its luck as a probe. An unknown outcome always costs one, for it may be a repeat.
3. A vendor is tried once per round; a round ends when each of the chain was tried. When no usable vendor is untried,
   the message waits, longer each time, and then goes to a usable one again: waiting for one that is down would bind it
   to that return. With all down, the untried come first: else the first vendor's probes would eat all attempts.
4. `unknown` under `hold` never leads to another send: it is held until proof or its deadline.
5. Nothing is scheduled past its time to live; it is a dead letter `expired` instead.
6. A move without an attempt happens once per plan epoch; the next goes to `due`, so two sick vendors cannot play
   tennis with a mailbox.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dispatcher.core.notification import Attempt, Notification, State
from dispatcher.core.outcome import Outcome, OutcomeKind, Scope
from dispatcher.core.retry import RetryPolicy, backoff_s

Usable = Callable[[str], bool]

CUT_OFF_WAIT_S_MAX = 10.0
"""Another vendor may be back by then."""

REFUSED_WAIT_S = 1.0
"""A refused notification with nowhere to go looks again after 1 to 2 s: probes are seconds apart anyway."""

CRASHES_MAX = 3
"""Poison: an entry whose owner died this often."""

ALONE_FROM = 2
"""Of this many crashes on, it is sent with nothing else in flight, and only it is suspected of the next crash: so the
bystanders of a poison are not condemned with it. Not from the first: every kill would make a slow procession of what
was in flight, and most kills are nobody's fault."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Done: the vendor has it."""

    attempt: Attempt | None
    attempts: int
    urgent = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Stop trying, keep it for an operator."""

    reason: str
    attempt: Attempt | None
    attempts: int
    urgent = True


@dataclass(frozen=True, slots=True)
class Move:
    """Hand it to the mailbox of `vendor`. `epoch` is set for a move that cost no attempt."""

    vendor: str
    tried: tuple[str, ...]
    attempt: Attempt | None
    attempts: int
    epoch: int = 0
    urgent = True


@dataclass(frozen=True, slots=True)
class Retry:
    """Look again in `wait_ms`: a duration, which the store dates, so that no clock that jumps can stretch it."""

    wait_ms: int
    tried: tuple[str, ...]
    attempt: Attempt | None
    attempts: int
    urgent = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Maybe sent: wait for proof for `wait_ms`; none is left when it is 0 or less."""

    wait_ms: int
    attempt: Attempt | None
    attempts: int
    urgent = True


@dataclass(frozen=True, slots=True)
class Drop:
    """An entry without a notification: remove it, count it."""

    reason: str
    urgent = False


Decision = Settle | Dead | Move | Retry | Hold | Drop


def goes_alone(notification: Notification) -> bool:
    """Is it suspected of killing its actors, so that nothing may be in flight beside it?"""
    return ALONE_FROM <= notification.crashes < CRASHES_MAX


def decide_before(notification: Notification, now_ms: int, policy: RetryPolicy) -> Decision | None:
    """What ends a notification before any call: its time is over, or it kills its actors. None: go on.

    A claim that comes with the start mark of `hold` was found by the audit: its send was cut off, so it is maybe sent.
    """
    if notification.on_unknown == "hold" and notification.state is State.STARTED:
        return _held(notification, None, notification.attempts, policy, now_ms)
    if now_ms >= notification.expires_ms:
        return Dead("expired", None, notification.attempts)
    if notification.crashes >= CRASHES_MAX:
        return Dead("poison", None, notification.attempts)
    return None


def decide_after(
    notification: Notification,
    vendor: str,
    outcome: Outcome,
    attempt: Attempt,
    usable: Usable,
    policy: RetryPolicy,
    now_ms: int,
    chance: float,
    probe: bool = False,
) -> Decision:
    """Where a notification goes after one call to `vendor` ended with `outcome`. `probe`: it is not usable yet."""
    n = notification
    match outcome.kind:
        case OutcomeKind.ACCEPTED:
            return Settle(attempt, n.attempts + 1)
        case OutcomeKind.REJECTED:
            return Dead(outcome.reason, attempt, n.attempts + 1)
        case OutcomeKind.THROTTLED:
            wait = backoff_s(1, policy, chance, outcome.retry_after_s)
            return _later(n, wait, n.tried, attempt, n.attempts, now_ms)
        case OutcomeKind.UNKNOWN if n.on_unknown == "hold":
            return _held(n, attempt, n.attempts + 1, policy, now_ms)
        case _:
            return _after_failure(n, vendor, outcome, attempt, usable, policy, now_ms, chance, probe)


def _after_failure(
    n: Notification,
    vendor: str,
    outcome: Outcome,
    attempt: Attempt,
    usable: Usable,
    policy: RetryPolicy,
    now_ms: int,
    chance: float,
    probe: bool,
) -> Decision:
    # An account-scope failure (bad key, no credit) says nothing about this message either.
    free = outcome.scope is Scope.ACCOUNT or outcome.local_origin or (probe and outcome.kind is OutcomeKind.FAILED)
    attempts = n.attempts + (0 if free else 1)
    if attempts >= policy.attempts_max:
        return Dead("attempts_exhausted", attempt, attempts)
    tried = n.tried if vendor in n.tried else (*n.tried, vendor)
    for name in n.chain:
        if name not in tried and usable(name):
            return Move(name, tried, attempt, attempts)
    wait = backoff_s(max(attempts, 1), policy, chance, outcome.retry_after_s)
    round_over = all(name in tried for name in n.chain)
    return _later(n, wait, () if round_over else tried, attempt, attempts, now_ms)


def decide_broken(n: Notification, policy: RetryPolicy, now_ms: int, chance: float) -> Decision:
    """Where a notification goes whose call was made, and something of ours broke right after it: maybe sent."""
    attempts = n.attempts + 1
    if n.on_unknown == "hold":
        return _held(n, None, attempts, policy, now_ms)
    if attempts >= policy.attempts_max:
        return Dead("attempts_exhausted", None, attempts)
    return _later(n, backoff_s(attempts, policy, chance), n.tried, None, attempts, now_ms)


def decide_refused(
    notification: Notification, vendor: str, usable: Usable, epoch: int, now_ms: int, chance: float
) -> Decision:
    """Where a notification goes that `vendor` may not send now. Costs no attempt."""
    n = notification
    if n.moved_epoch != epoch:
        for name in n.chain:
            if name != vendor and name not in n.tried and usable(name):
                return Move(name, n.tried, None, n.attempts, epoch)
    return _later(n, REFUSED_WAIT_S * (1 + chance), n.tried, None, n.attempts, now_ms)


def decide_cut_off(
    n: Notification, vendor: str, usable: Usable, cut_off_s: float, now_ms: int, chance: float
) -> Decision:
    """Where a notification goes whose recipient's country `vendor` does not reach, though it reaches others.

    It counts as tried there, at no attempt: the plan does not know of it, and would lead it back here. With nowhere
    else to go it waits for about as long as the country is `cut_off_s`, so that many of them are no hot loop.
    """
    tried = n.tried if vendor in n.tried else (*n.tried, vendor)
    for name in n.chain:
        if name not in tried and usable(name):
            return Move(name, tried, None, n.attempts)
    round_over = all(name in tried for name in n.chain)
    wait_s = min(CUT_OFF_WAIT_S_MAX, max(REFUSED_WAIT_S, cut_off_s)) * (1 + chance)
    return _later(n, wait_s, () if round_over else tried, None, n.attempts, now_ms)


def decide_adopted(
    notification: Notification, vendor: str, usable: Usable, epoch: int, now_ms: int, chance: float
) -> Decision | None:
    """None: an adopter may send it. It sends only what names it in its chain and is untried; it moves the rest."""
    if vendor in notification.chain and vendor not in notification.tried:
        return None
    return decide_refused(notification, vendor, usable, epoch, now_ms, chance)


def decide_mailbox(
    chain: tuple[str, ...], tried: tuple[str, ...], usable: Usable, recovering: Usable, known: Usable
) -> str | None:
    """The mailbox for something due: of a usable vendor, else of one that recovers, else of any; None: none left.

    Among equals the untried come first. Usable comes before untried: in the mailbox of a vendor that is down it would
    be refused by whoever adopted that mailbox and has tried it already, again and again until the vendor is back.
    """
    names = [name for name in chain if known(name)]
    for fits in (usable, recovering, known):
        fitting = sorted((name for name in names if fits(name)), key=lambda name: name in tried)
        if fitting:
            return fitting[0]
    return None


def _held(n: Notification, attempt: Attempt | None, attempts: int, policy: RetryPolicy, now_ms: int) -> Hold:
    return Hold(min(n.expires_ms - now_ms, int(policy.hold_s * 1000)), attempt, attempts)


def _later(
    n: Notification, wait_s: float, tried: tuple[str, ...], attempt: Attempt | None, attempts: int, now_ms: int
) -> Decision:
    wait_ms = max(1, int(wait_s * 1000))
    if now_ms + wait_ms >= n.expires_ms:
        return Dead("expired", attempt, attempts)
    return Retry(wait_ms, tried, attempt, attempts)
