"""The accept path: validate, expand and route a trigger, and answer only when the store has it on disk.

Concurrent requests share one pipelined round trip (group commit), which runs in a task of its own. The requests wait on
futures, so a request that its client cancels cannot stall the others. A cancelled trigger is stored or not, as if the
answer had been lost. The client finds out by sending the same key again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time
from typing import Any

from dispatcher.config.settings import QuietHours, Settings
from dispatcher.core.accepting.caps import caps_of
from dispatcher.core.accepting.expansion import Draft, expand
from dispatcher.core.accepting.quiet_hours import after_quiet, zone
from dispatcher.core.accepting.routing import choose_chain
from dispatcher.core.life.decide import decide_mailbox
from dispatcher.core.life.notification import Lane, NewNotification, NewTrigger, State, TriggerView, notification_id
from dispatcher.core.life.sms_text import refuse_sms
from dispatcher.core.plan.values import Plan
from dispatcher.errors import CallerError, TemplateError, UnavailableError
from dispatcher.ports import AcceptReply, AcceptResult, Clock, Store, Views
from dispatcher.store_clock import StoreTime
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from dispatcher.wire.trigger import TriggerRequest, body_hash, check_send_at, phone_region, read_trigger

CELL = "0"
WAITING_MAX = 4096
"""The most requests that wait for a round trip. With one more, the oldest, which would come too late, gets a 503."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to one trigger. A notification is (id, channel, vendor); `suppressed` ids are never sent."""

    id: str
    notifications: tuple[tuple[str, str, str], ...]
    replayed: bool
    suppressed: frozenset[str] = frozenset()


@dataclass(slots=True)
class Headroom:
    """The room for new triggers. A background loop keeps it up to date."""

    memory_ratio: float = 0.0
    full: frozenset[Lane] = frozenset()


class Intake:
    """Turns request bodies into durable triggers."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        views: Views,
        templates: TemplateCache,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._settings, self._store, self._views, self._templates = settings, store, views, templates
        self._clock, self._metrics = clock, metrics
        self.time = StoreTime(clock)  # the owner's background loop asks the store, an accept never does
        self.plan = Plan()
        self.headroom = Headroom()
        self._waiting: deque[tuple[NewTrigger, asyncio.Future[AcceptReply]]] = deque()
        self._wanted = asyncio.Event()

    @property
    def started(self) -> bool:
        """Return True if the store's templates were read. Before that, nothing can be accepted."""
        return self._templates.loaded

    @property
    def nearly_full(self) -> bool:
        """Return True if the store has no memory for new triggers."""
        return self.headroom.memory_ratio >= self._settings.limits.memory_ratio_max

    def adopt(self, plan: Plan, asked_with: Plan | None) -> None:
        """Work by `plan` if it replaces the current one; see `Plan.replaces`."""
        if plan.replaces(self.plan, asked_with):
            self.plan = plan

    def check_started(self) -> None:
        """Raise UnavailableError if nothing can be accepted yet."""
        if not self.started:
            raise UnavailableError("starting: the store was not read yet")

    async def accept(self, tenant: str, body: Any, header_key: str | None = None) -> Accepted:
        """Store one trigger and answer when it is durable.

        Raises CallerError (nothing stored) and UnavailableError (maybe stored: repeat with the same key).
        """
        began_s = self._clock.now_s()
        try:
            accepted = await self._accept_or_replay(tenant, body, header_key)
        except CallerError:
            self._metrics.count("dispatcher_accepts", "refused")
            raise
        except UnavailableError:
            self._metrics.count("dispatcher_accepts", "unavailable")
            raise
        self._metrics.count("dispatcher_accepts", "replayed" if accepted.replayed else "accepted")
        self._metrics.observe("dispatcher_accept_seconds", self._clock.now_s() - began_s)
        for nid, channel, _ in accepted.notifications:
            if nid not in accepted.suppressed:
                self._metrics.count("dispatcher_accepted_notifications", channel)
            elif not accepted.replayed:
                self._metrics.count("dispatcher_suppressed", channel, "recipient_cap")
        return accepted

    async def _accept_or_replay(self, tenant: str, body: Any, header_key: str | None) -> Accepted:
        """Only the body's shape is judged before the key is looked up.

        The store looks the key up itself when it is given a trigger. So an extra read is needed only for a trigger that
        cannot be made today: its `send_at` has passed, an event is gone, a mailbox is full.
        """
        request = read_trigger(body)
        key = _key(request, header_key)
        digest = body_hash(request)
        try:
            trigger = self._expand(tenant, request, key, digest)
            await self._check_renders(trigger)
        except (CallerError, UnavailableError):
            first = await self._views.trigger(trigger_id(tenant, key)) if key else None
            if first is None:
                raise
            if first.body_hash != digest:
                raise _conflict() from None
            return _replayed(first)
        return await self._commit(trigger)

    async def run(self) -> None:
        """Run the group commit until cancelled, one round trip after the other."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                await self._round_trip(self._next_batch())

    def _next_batch(self) -> list[tuple[NewTrigger, asyncio.Future[AcceptReply]]]:
        """Return the latest requests whose client still waits, in the order of their arrival.

        This choice matters only if more requests wait than fit into one round trip. If the oldest went first, their
        deadline would pass during the round trip, and then that of all later ones, though each is stored. With the
        latest first, some are answered in time and the others get a 503.
        """
        while self._waiting and self._waiting[0][1].done():  # the oldest give up first, so this keeps the queue short
            self._waiting.popleft()
        batch: list[tuple[NewTrigger, asyncio.Future[AcceptReply]]] = []
        while self._waiting and len(batch) < self._settings.intake.group_commit_max:
            pair = self._waiting.pop()
            if not pair[1].done():
                batch.append(pair)
        batch.reverse()
        return batch

    async def _round_trip(self, batch: Sequence[tuple[NewTrigger, asyncio.Future[AcceptReply]]]) -> None:
        if not batch:
            return
        call = asyncio.get_running_loop().create_task(self._accept([trigger for trigger, _ in batch]))
        try:
            # `wait_for` can swallow a cancellation before Python 3.12, and then this loop would never end.
            await asyncio.wait({call}, timeout=self._settings.limits.accept_deadline_s)
            if not call.done():
                raise UnavailableError("the store is too slow")
            replies = call.result()
        except asyncio.CancelledError:
            _fail(batch, UnavailableError("stopping"))
            raise
        except UnavailableError as error:
            _fail(batch, error)
        except Exception as error:  # whatever failed, the requests of the batch must not wait forever
            _fail(batch, UnavailableError(f"accept failed: {type(error).__name__}"))
        else:
            for (_, future), reply in zip(batch, replies, strict=True):
                if not future.done():
                    future.set_result(reply)
        finally:
            call.cancel()

    async def _accept(self, triggers: Sequence[NewTrigger]) -> list[AcceptReply]:
        return await self._store.accept(triggers)

    async def _commit(self, trigger: NewTrigger) -> Accepted:
        if len(self._waiting) >= WAITING_MAX:
            _fail([self._waiting.popleft()], UnavailableError("too many requests wait"))
        future: asyncio.Future[AcceptReply] = asyncio.get_running_loop().create_future()
        self._waiting.append((trigger, future))
        self._wanted.set()
        try:
            reply = await asyncio.wait_for(future, self._settings.limits.accept_deadline_s)
        except asyncio.TimeoutError:
            raise UnavailableError("the store is too slow") from None
        match reply.result:
            case AcceptResult.STORED:
                return _accepted(trigger, reply.suppressed)
            case AcceptResult.REPLAYED:
                return await self._first_answer(trigger)
            case AcceptResult.CONFLICT:
                raise _conflict()
            case AcceptResult.FULL:
                raise UnavailableError("the store is full", 5.0)
            case AcceptResult.ERROR:
                raise UnavailableError("the store refused", 5.0)

    async def _first_answer(self, trigger: NewTrigger) -> Accepted:
        view = await self._views.trigger(trigger.id)
        if view is None:
            raise UnavailableError("the first answer has just expired")
        return _replayed(view)

    # ---- expand, route

    def _expand(self, tenant: str, request: TriggerRequest, key: str | None, digest: str) -> NewTrigger:
        now_ms = self.time.now_ms()
        check_send_at(request, now_ms)
        event = self._settings.events.get(request.event)
        drafts = expand(request, self._settings.events, self._templates.latest)
        priority = request.priority or (event.priority if event else "normal")
        notifications = tuple(
            self._route(tenant, request, draft, priority, f"notifications.{index}")
            for index, draft in enumerate(drafts)
        )
        self._check_headroom(notifications, priority)
        expires_s = request.expires_in_s or (event.expires_in_s if event else 86_400)
        send_at_ms = _send_at_ms(request, event.quiet_hours if event else None, priority, now_ms)
        return NewTrigger(
            id=trigger_id(tenant, key),
            tenant=tenant,
            event=request.event,
            body_hash=digest,
            accepted_ms=now_ms,
            expires_ms=send_at_ms + expires_s * 1000,
            priority=priority,
            on_unknown=request.on_unknown or (event.on_unknown if event else "resend"),
            data=request.data,
            notifications=notifications,
            recipient_id=request.recipient.id,
            locale=request.recipient.locale,
            send_at_ms=send_at_ms if send_at_ms > now_ms else None,
            idempotency_key=key,
        )

    async def _check_renders(self, trigger: NewTrigger) -> None:
        """Template version and data are both known now: what cannot render is refused, and nothing is stored.

        A rendering takes some 20 us, and the version is compiled before it is needed. A store that does not answer
        for a cold version would not take the trigger either. Errors: `CallerError`, `UnavailableError`.
        """
        for name, version in {(n.template, n.template_version) for n in trigger.notifications}:
            if name is None or version is None:
                continue
            try:
                compiled = await self._templates.get(name, version)
                compiled.render(trigger.data, trigger.locale)
            except TemplateError as error:
                raise CallerError("data", str(error)) from None

    def _route(self, tenant: str, request: TriggerRequest, draft: Draft, priority: str, at: str) -> NewNotification:
        """`at` is the draft's place in the request, if the request lists it."""
        phone = request.recipient.phone
        country = phone_region(phone) if draft.channel == "sms" and phone else None
        allowed = self._settings.limits.sms_countries
        if draft.channel == "sms" and allowed is not None and country not in allowed:
            raise CallerError("recipient.phone", f"country {country or 'unknown'} is not among limits.sms_countries")
        chain = choose_chain(self._settings.routes, draft.channel, country, tenant, priority)
        if draft.channel == "sms" and draft.content is not None:
            segments_max = max(self._settings.vendors[name].segments_max for name in chain)
            broken = refuse_sms(draft.content["text"], segments_max)
            if broken is not None:
                raise CallerError(f"{at}.content.text", broken)
        caps = self._settings.limits.recipient_caps
        plan = self.plan
        fits = plan.takes_new if any(plan.takes_new(name) for name in chain) else plan.usable
        return NewNotification(
            channel=draft.channel,
            to=draft.to,
            chain=tuple(chain),
            vendor=decide_mailbox(chain, (), fits, plan.recovering, _any) or chain[0],
            template=draft.template,
            template_version=draft.template_version,
            content=draft.content,
            caps=caps_of(caps, tenant, request.event, draft.channel, priority, draft.to) if caps else (),
        )

    def _check_headroom(self, notifications: Sequence[NewNotification], priority: str) -> None:
        if self.nearly_full:
            raise UnavailableError("the store is nearly full", 5.0)
        for n in notifications:
            if Lane(n.vendor, priority) in self.headroom.full:
                raise UnavailableError(f"the mailbox of {n.vendor} ({n.channel}) is full for priority {priority}", 5.0)


def _send_at_ms(request: TriggerRequest, quiet: QuietHours | None, priority: str, now_ms: int) -> int:
    """Return the time from which the trigger may be sent: now, its `send_at`, or the end of the quiet hours."""
    name = request.recipient.time_zone
    try:
        own = None if name is None else zone(name)
    except ValueError as error:
        raise CallerError("recipient.time_zone", str(error)) from None
    at_ms = max(now_ms, request.send_at_ms or 0)
    if quiet is None or priority == "high":
        return at_ms
    begin, end = time.fromisoformat(quiet.begin), time.fromisoformat(quiet.end)
    return after_quiet(at_ms, begin, end, own or zone(quiet.time_zone))


def trigger_id(tenant: str, key: str | None) -> str:
    """Return a trigger id, `<cell>-<26 letters>`: derived from tenant and key, or random without a key.

    Because of the derivation a trigger's record is its idempotency record as well.
    """
    raw = hashlib.sha256(f"{tenant}\0{key}".encode()).digest()[:16] if key else secrets.token_bytes(16)
    return f"{CELL}-{base64.b32encode(raw).decode().rstrip('=').lower()}"


def _accepted(trigger: NewTrigger, suppressed: tuple[int, ...]) -> Accepted:
    """Return the answer to a stored trigger, some of whose notifications may be suppressed."""
    return Accepted(
        trigger.id,
        tuple((notification_id(trigger.id, i), n.channel, n.vendor) for i, n in enumerate(trigger.notifications)),
        False,
        frozenset(notification_id(trigger.id, i) for i in suppressed),
    )


def _replayed(view: TriggerView) -> Accepted:
    """Return the first answer to a trigger that is stored."""
    suppressed = frozenset(n.id for n in view.notifications if n.state == State.SUPPRESSED)
    return Accepted(view.id, tuple((n.id, n.channel, n.vendor) for n in view.notifications), True, suppressed)


def _conflict() -> CallerError:
    return CallerError("idempotency_key", "was used with another body", 409)


def _key(request: TriggerRequest, header_key: str | None) -> str | None:
    """Return the idempotency key: the header's, or else the body's. Two that differ are an error."""
    if header_key is None:
        return request.idempotency_key
    _check_key(header_key)
    if request.idempotency_key not in (None, header_key):
        raise CallerError("idempotency_key", "differs from the Idempotency-Key header")
    return header_key


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise CallerError("Idempotency-Key", "must be 1 to 255 printable ASCII characters", 400)


def _fail(batch: Sequence[tuple[NewTrigger, asyncio.Future[AcceptReply]]], error: UnavailableError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
        with contextlib.suppress(asyncio.CancelledError):
            future.exception()  # otherwise asyncio logs "never retrieved" for a client that left


def _any(vendor: str) -> bool:
    """Return True for every vendor: the settings allow only configured vendors in routes."""
    return True
