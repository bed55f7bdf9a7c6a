"""The steps from one claim to its decision: prepare, get a permit, send.

This module only decides. `courier` passes the decision to the store. Without a decision the claim stays pending.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dispatcher.core.accepting.wording import is_blank
from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.refusals import Contradictions
from dispatcher.core.breaker.values import Permit
from dispatcher.core.life.decide import (
    Dead,
    Decision,
    Retry,
    Settle,
    Situation,
    decide_adopted,
    decide_after,
    decide_before,
    decide_broken,
    decide_cut_off,
    decide_refused,
)
from dispatcher.core.life.late_refusal import REOPENS_MS
from dispatcher.core.life.look_up import Fingerprint, fingerprint
from dispatcher.core.life.notification import Attempt, Claim, Notification, pin_of
from dispatcher.core.life.outcome import OUR_BUG, Outcome, OutcomeKind, Rule, Scope, apply_rules
from dispatcher.core.life.receipt import ReceiptLinks
from dispatcher.core.life.rendered_message import Message
from dispatcher.core.life.retry import RetryPolicy
from dispatcher.core.life.sms_text import SEGMENTS_MAX, measure, refuse_sms
from dispatcher.core.limits.token_bucket import Throughput
from dispatcher.core.plan.values import Plan
from dispatcher.deadline import expired, timeout
from dispatcher.deliver.permits import Gate
from dispatcher.deliver.surroundings import Surroundings
from dispatcher.errors import TemplateError, UnavailableError
from dispatcher.ports import LooksUp, Vendor
from dispatcher.store_clock import StoreTime
from dispatcher.telemetry.account_refusals import AccountRefusals
from dispatcher.telemetry.log import logger
from dispatcher.wire.trigger import phone_region

FOREIGN_PAUSE_S = 0.25
"""The pause in seconds of a recovering vendor after it has claimed a notification that it may not send.

To find probes, a recovering vendor also claims from the mailbox of the vendor that adopted its own. A notification that
it may not send goes back to the end of the queue. Without the pause the vendor would move a whole backlog that way.
"""


CONTRADICTIONS_NS = 10_000_000_000
"""The length of the window for contradicted refusals, in nanoseconds. A breaker's default window is as long."""

OVERDUE_S = 2.0
"""The time in seconds after its deadline at which a call is cancelled, if the adapter has not ended it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The rules for sending a vendor's messages.

    Attributes:
        retry: the limits of retries.
        timeout_s: the total deadline of one call.
        segments_max: the most segments of an SMS.
        links: makes the receipt links; None if the vendor is not asked for receipts.
        rules: the operator's own meanings of the vendor's codes and texts.
    """

    retry: RetryPolicy
    timeout_s: float = 10.0
    segments_max: int = SEGMENTS_MAX
    links: ReceiptLinks | None = None
    rules: Sequence[Rule] = ()


@dataclass(frozen=True, slots=True)
class Ready:
    """A message that the vendor's breaker and limits allow to be sent now.

    The permit must be given back after the call: the caller records the call's result at the breaker with `permit`.
    """

    message: Message
    permit: Permit
    segments: int = 0
    """How many segments the message costs as an SMS; 0 on another channel."""


class Delivery:
    """Handles the claims of a vendor actor.

    Many claims are handled at once, so no attribute belongs to a single claim.
    """

    def __init__(
        self,
        vendor: Vendor,
        gate: Gate,
        around: Surroundings,
        terms: Terms,
        *,
        time: StoreTime,
        stale: Callable[[], bool],
        in_flight: Callable[[], int],
    ) -> None:
        """Prepare to handle claims. `stale` returns True if this incarnation may have been declared dead.

        `in_flight` returns how many calls of this actor are in flight.
        """
        self.plan = Plan()
        self.own_only_until_s = 0.0
        self.throughput = Throughput(around.clock.now_s())
        self._vendor, self._gate, self._time = vendor, gate, time
        self._store, self._templates, self._chance = around.store, around.templates, around.chance
        self._clock, self._metrics = around.clock, around.metrics
        self._timeout_s, self._retry, self._links = terms.timeout_s, terms.retry, terms.links
        self._segments_max, self._rules = terms.segments_max, tuple(terms.rules)
        self._stale, self._in_flight = stale, in_flight
        self.contradictions = Contradictions(CONTRADICTIONS_NS)
        self._account_refusals = AccountRefusals(around.metrics, around.clock.now_s)

    async def decide(self, me: str, claim: Claim) -> Decision | None:
        """Handle one claim of the incarnation `me`, and return where the notification goes next.

        None means that the claim stays pending for `me`. The audit, which searches for claims that the actor does not
        know, finds it again. Only a cancellation leaves this method as an exception.
        """
        n, ready = claim.notification, None
        try:
            ready = await self._prepare(me, claim)
        except UnavailableError:
            ready = self._put_off(n)
        except Exception as error:
            self._broke(n, error)
            ready = self._put_off(n)
        finally:
            if not isinstance(ready, Ready):
                self._gate.give_back()  # no call is made
        return await self._attempt(n, ready) if isinstance(ready, Ready) else ready

    async def _prepare(self, me: str, claim: Claim) -> Ready | Decision | None:
        """Check the claim, render the message and get the permit.

        Return `Ready` if the message may be sent; the caller must then call the vendor at once. Return a decision if
        this vendor must not send the message now. Return None if the claim must stay pending.
        """
        n = claim.notification
        now_ms = self._time.now_ms()
        decision = decide_before(n, now_ms, self._retry)
        if decision is None and claim.lane.mailbox != self._vendor.name:
            decision = decide_adopted(n, self._situation(now_ms))
            if decision is not None and self._gate.breaker.state is BreakerState.HALF_OPEN:
                self.own_only_until_s = self._clock.now_s() + FOREIGN_PAUSE_S
        if decision is not None:
            return decision
        try:
            message = await self.render(n)
        except TemplateError as error:
            return Dead(f"template: {error}", None, n.attempts)
        size = measure(message.text) if n.channel == "sms" else None
        broken = None if size is None else refuse_sms(message.text, size, self._segments_max)
        if broken is not None:
            return Dead(f"text: {broken}", None, n.attempts)
        country = phone_region(n.to) if self._gate.keys is not None else None
        permit = self._gate.acquire(country)
        if permit is None:
            return self._without_permit(n, country, now_ms)
        may = False
        try:
            # A stale incarnation is maybe declared dead, and another actor may send the notification now.
            may = not self._stale() and (
                n.on_unknown != "hold" or await self._store.start(me, claim, self._print(message))
            )
        finally:
            if not may:
                self._gate.record(permit, None, 0.0, self._in_flight())
        return Ready(message, permit, size.segments if size else 0) if may else None

    def _without_permit(self, n: Notification, country: str | None, now_ms: int) -> Decision:
        """Count the breaker's refusal, and decide where the notification goes now."""
        cut_off_s = self._gate.cut_off_for_s(country)
        self._metrics.count("dispatcher_refusals", self._vendor.name, "breaker" if cut_off_s is None else "country")
        if cut_off_s is not None:
            return decide_cut_off(n, cut_off_s, self._situation(now_ms))
        return decide_refused(n, self._situation(now_ms))

    async def _attempt(self, n: Notification, ready: Ready) -> Decision:
        """Call the vendor and return the decision about the notification.

        Once this call has begun, the vendor may have the message. So an error in our own code uses up an attempt or
        makes the notification held. An error in the code that only counts (breaker, metrics) must not change the
        outcome of an accepted message.
        """
        began_s = self._clock.now_s()
        outcome: Outcome | None = None
        try:
            outcome = await self._call(ready.message)
        finally:
            duration_s = self._clock.now_s() - began_s
            first_to = n.to if n.trail.is_new else None
            self._watched(
                n, lambda: self._gate.record(ready.permit, outcome, duration_s, self._in_flight(), first_to=first_to)
            )
        now_ms = self._time.now_ms()
        try:
            decision = self._after(n, outcome, duration_s, now_ms)
        except Exception as error:
            self._broke(n, error)
            decision = decide_broken(n, self._situation(now_ms))
        self._watched(n, lambda: self._count_attempt(n, outcome, duration_s, now_ms))
        if outcome.kind is OutcomeKind.ACCEPTED and ready.segments:
            self._watched(n, lambda: self._count_segments(ready.segments))
        return decision

    def _after(self, n: Notification, outcome: Outcome, duration_s: float, now_ms: int) -> Decision:
        attempt = Attempt(
            now_ms - int(duration_s * 1000),
            self._vendor.name,
            outcome.kind.value,
            outcome.reason,
            int(duration_s * 1000),
            outcome.vendor_message_id,
        )
        decision = decide_after(n, outcome, attempt, self._situation(now_ms))
        if isinstance(decision, Settle) and self._links is not None:  # its receipt may refuse it
            return replace(decision, reopens_ms=REOPENS_MS)
        return decision

    def _situation(self, now_ms: int) -> Situation:
        return Situation(
            self._vendor.name, self.plan.usable, self._retry, now_ms, self._chance(), epoch=self.plan.epoch
        )

    async def _call(self, message: Message) -> Outcome:
        """Return the vendor's outcome. A call that lasts longer than its deadline is cancelled.

        After an adapter's bug the outcome is unknown, because something may have been sent before.
        """
        deadline = timeout(self._timeout_s + OVERDUE_S)
        try:
            async with deadline:
                outcome = await self._vendor.send(message, self._timeout_s)
            if not isinstance(outcome, Outcome):
                raise TypeError("an adapter answers with an Outcome")
            return apply_rules(outcome, self._rules)
        except Exception as error:
            overdue = expired(deadline)
            with contextlib.suppress(Exception):  # the vendor may have the message: a failing log must not undo that
                event = "adapter_overdue" if overdue else "adapter_failed"
                logger().error(event, notification=message.notification_id, error=type(error).__name__)
            return Outcome.unknown("overdue" if overdue else OUR_BUG)

    def _print(self, message: Message) -> Fingerprint | None:
        """Return the message's fingerprint, or None if the vendor has no look-up.

        A look-up cannot tell apart two messages with the same recipient and text. Equal fingerprints show that there
        are two such messages.
        """
        asks = isinstance(self._vendor, LooksUp)
        return fingerprint(message.to, message.text, self._timeout_s) if asks else None

    async def render(self, n: Notification) -> Message:
        """Return the message for `n`, either to send it or to recognise it in a look-up. Raises TemplateError."""
        key = f"{n.id}-{n.generation}-{self._vendor.name}"
        pin = pin_of(n)
        if pin is None:
            content = n.content or {}
            text, subject, html = content.get("text") or "", content.get("subject"), content.get("html")
        else:
            compiled = await self._templates.get(*pin)
            rendered = compiled.render(n.data, n.locale)
            text, subject, html = rendered.text, rendered.subject, rendered.html
        receipt = None if self._links is None else self._links.link(self._vendor.name, n.id, n.mark)
        left_s = (n.expires_ms - self._time.now_ms()) / 1000
        html = None if html is None or is_blank(html) else html
        return Message(n.id, key, n.channel, n.to, text, subject, html, receipt, left_s)

    def _put_off(self, n: Notification) -> Decision:
        return Retry(1000 + int(1000 * self._chance()), n.trail, None, n.attempts)

    def _watched(self, n: Notification, note: Callable[[], None]) -> None:
        try:
            note()
        except Exception as error:
            self._broke(n, error)

    def _broke(self, n: Notification, error: Exception) -> None:
        with contextlib.suppress(Exception):  # the decision must stand even if the log fails
            logger().error("delivery_failed", notification=n.id, error=type(error).__name__)
            self._metrics.count("dispatcher_refusals", self._vendor.name, "our_bug")

    def _count_attempt(self, n: Notification, outcome: Outcome, duration_s: float, now_ms: int) -> None:
        m, vendor = self._metrics, self._vendor.name
        self.throughput.note(duration_s)
        m.count("dispatcher_attempts", vendor, outcome.kind.value)
        m.observe("dispatcher_attempt_seconds", duration_s, vendor)
        if outcome.scope is Scope.ACCOUNT:
            self._account_refusals.tell(vendor, outcome.reason)
        if outcome.kind is OutcomeKind.ACCEPTED:
            self.contradictions.note(n.trail.doubted, int(self._clock.now_s() * 1e9))
            m.observe("dispatcher_age_seconds", max(0, now_ms - n.accepted_ms) / 1000, n.channel)

    def _count_segments(self, segments: int) -> None:
        self._metrics.count("dispatcher_sms_segments", self._vendor.name, by=segments)
