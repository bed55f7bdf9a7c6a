"""The accept path: check and prepare a trigger, and answer only when the store has it on disk.

Requests that come together share one round trip (group commit), which runs in a task of its own. The requests wait on
futures, so a request that its client cancels cannot delay the others. A cancelled trigger may or may not be stored, as
after a lost answer. The client finds out when it sends the same key again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dispatcher.accept.accepted import Accepted, accepted, replayed
from dispatcher.accept.preparation import NOTIFICATIONS_MAX, Posted, Preparation, Prepared
from dispatcher.accept.route import ONLY, MovedError, Questions, Route
from dispatcher.config.settings import Settings
from dispatcher.core.cells.names import FIRST_CELL
from dispatcher.core.life.notification import Lane, NewTrigger
from dispatcher.core.plan.values import Plan
from dispatcher.errors import CallerError, InvariantError, LimitedError, UnavailableError
from dispatcher.ports import AcceptReply, AcceptResult, Clock, Store, TriggerViews
from dispatcher.store_clock import StoreTime
from dispatcher.telemetry.metrics import Metrics
from dispatcher.templates.cache import TemplateCache
from dispatcher.wire.trigger import TriggerRequest, body_hash, read_trigger

TENANTS_NAMED_MAX = 100
"""How many tenants have their own labels in the metrics: the first in the configuration.

All others are counted together. Each tenant has up to three series.
"""

WAITING_MAX = 4096
"""The most requests that wait for a round trip.

If one more comes, the oldest gets a 503, because it would be too late.
"""


@dataclass(slots=True)
class Headroom:
    """Tells whether there is room for new triggers.

    `memory_ratio` is the used part of the store's memory. `full` are the lanes that are full.
    """

    memory_ratio: float = 0.0
    full: frozenset[Lane] = frozenset()
    crowding: Mapping[Lane, frozenset[str]] = field(default_factory=dict)
    """The tenants that each full lane refuses. A full lane without an entry refuses every tenant."""

    def refuses(self, lane: Lane, tenant: str) -> bool:
        return lane in self.full and (lane not in self.crowding or tenant in self.crowding[lane])


class Intake:
    """Accepts requests: it checks each body and stores the trigger."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        views: TriggerViews,
        templates: TemplateCache,
        *,
        clock: Clock,
        metrics: Metrics,
        cell: str = FIRST_CELL,
    ) -> None:
        """Prepare the intake of one cell, whose name is `cell`. Nothing is asked before `run` and the first accept."""
        self.cell = cell
        self.questions = Questions(
            store, together=settings.intake.group_commit_max, deadline_s=settings.limits.accept_deadline_s
        )
        self._settings, self._store, self._views, self._templates = settings, store, views, templates
        self._clock, self._metrics = clock, metrics
        self.time = StoreTime(clock)  # the owner's background loop asks the store, an accept never does
        self.plan = Plan()
        self.headroom = Headroom()
        self._waiting: deque[tuple[NewTrigger, asyncio.Future[AcceptReply]]] = deque()
        self._wanted = asyncio.Event()
        self._named = frozenset(list(settings.tenants)[:TENANTS_NAMED_MAX])

    @property
    def started(self) -> bool:
        """Return True if the store's templates have been read. Before that, nothing can be accepted."""
        return self._templates.loaded

    @property
    def nearly_full(self) -> bool:
        """Return True if the store has no memory left for new triggers."""
        return self.headroom.memory_ratio >= self._settings.limits.memory_ratio_max

    def adopt(self, plan: Plan, asked_with: Plan | None) -> None:
        """Use `plan` if it replaces the current plan. `asked_with` is explained in `Plan.replaces`."""
        if plan.replaces(self.plan, asked_with):
            self.plan = plan

    def check_started(self) -> None:
        """Raise UnavailableError if nothing can be accepted yet."""
        if not self.started:
            raise UnavailableError("starting: the store was not read yet")

    async def accept(self, tenant: str, body: Any, header_key: str | None = None, route: Route = ONLY) -> Accepted:
        """Store one trigger, and return the answer when the trigger is durable. `route` is how it came to this cell.

        Raises CallerError (nothing is stored) or UnavailableError (maybe stored: send it again with the same key). With
        several cells it raises MovedError if the trigger's cell must be chosen again; nothing is stored then.
        """
        began_s = self._clock.now_s()
        try:
            accepted = await self._accept_or_replay(tenant, body, header_key, route)
        except CallerError:
            self._metrics.count("dispatcher_accepts", "refused")
            raise
        except LimitedError:
            self.count(tenant, "limited")
            raise
        except UnavailableError:
            self._metrics.count("dispatcher_accepts", "unavailable")
            raise
        self.count(tenant, "replayed" if accepted.replayed else "accepted")
        self._metrics.observe("dispatcher_accept_seconds", self._clock.now_s() - began_s)
        for nid, channel, _ in accepted.notifications:
            if nid in accepted.fallbacks:
                continue  # counted when it begins
            if nid not in accepted.suppressed:
                self._metrics.count("dispatcher_accepted_notifications", channel)
            elif not accepted.replayed:
                self._metrics.count("dispatcher_suppressed", channel, "recipient_cap")
        return accepted

    def count(self, tenant: str, answer: str) -> None:
        """Count an answer, in total and for its tenant.

        Tenants beyond `TENANTS_NAMED_MAX` are counted together as `other`.
        """
        self._metrics.count("dispatcher_accepts", answer)
        if self._settings.tenants:
            self._metrics.count("dispatcher_tenant_accepts", tenant if tenant in self._named else "other", answer)

    async def _accept_or_replay(self, tenant: str, body: Any, header_key: str | None, route: Route) -> Accepted:
        """Store the trigger. If a trigger with the same idempotency key is stored already, return that trigger's first
        answer.

        The store itself looks for the key when it gets a trigger. So mostly no extra read is needed. But sometimes a
        repeated body cannot be made into a trigger any more: its `send_at` has passed, an event is gone, or a mailbox
        is full. Only then the key is looked for here. So before that, nothing but the shape of the body is checked.
        """
        request = read_trigger(body)
        if request.dry_run:
            raise InvariantError("a dry run is not to be stored")
        key = _key(request, header_key)
        digest = body_hash(request)
        try:
            trigger = (await self._prepare(tenant, request, key, digest)).trigger
            self._check_headroom(trigger)
        except (CallerError, UnavailableError):
            first = await self._views.trigger(trigger_id(tenant, key, self.cell)) if key else None
            if first is None:
                raise
            if first.body_hash != digest:
                raise _conflict() from None
            await self._store.synced()  # the first try may have ended with "maybe stored"
            return replayed(first)
        if route is ONLY:
            return await self._commit_alone(trigger)
        trigger = replace(trigger, cells=route.cells)
        return await (
            self._commit_charged(trigger, route) if route.counts_elsewhere(trigger) else self._commit(trigger)
        )

    async def _commit_alone(self, trigger: NewTrigger) -> Accepted:
        """Store the trigger, if this process knows a single cell."""
        try:
            return await self._commit(trigger)
        except MovedError as moved:
            raise UnavailableError(f"{moved.cells} cells are in force, and this replica knows fewer", 5.0) from None

    async def _commit_charged(self, trigger: NewTrigger, route: Route) -> Accepted:
        """Store the trigger after another cell has counted it. A trigger that is stored already is not counted."""
        assert route.charge is not None
        first = await self.replay(trigger.id, trigger.body_hash, route.cells) if trigger.idempotency_key else None
        if first is not None:
            return first
        charged = await route.charge(trigger)
        done = await self._commit(replace(trigger, suppressed=frozenset(charged.suppressed)))
        return done if done.replayed else replace(done, quota=charged.quota)

    async def replay(self, tid: str, digest: str, cells: int) -> Accepted | None:
        """Return the first answer to the trigger `tid`, or None if this cell does not have it.

        `digest` is the hash of the body, and `cells` is the number of cells in force. Raises CallerError if the trigger
        had another body, MovedError, and UnavailableError if the trigger cannot be looked for.
        """
        found = await self.questions.known(tid, cells)
        if found is not None and found != digest:
            raise _conflict()
        return None if found is None else await self._first_answer(tid)

    async def dry_run(self, tenant: str, body: Any, header_key: str | None = None) -> Prepared:
        """Return the trigger that this body would become now. Nothing is stored, and no key, cap or mailbox is checked.

        Raises CallerError as `accept` does, and UnavailableError if a template cannot be read.
        """
        try:
            request = read_trigger(body)
            prepared = await self._prepare(tenant, request, _key(request, header_key), body_hash(request))
        except CallerError:
            self._metrics.count("dispatcher_accepts", "refused")
            raise
        self._metrics.count("dispatcher_accepts", "dry_run")
        return prepared

    async def _prepare(self, tenant: str, request: TriggerRequest, key: str | None, digest: str) -> Prepared:
        posted = Posted(tenant, request, trigger_id(tenant, key, self.cell), digest, key)
        return await Preparation(self._settings, self._templates).prepare(posted, self.plan, self.time.now_ms())

    async def run(self) -> None:
        """Run the group commit until cancelled, one round trip after the other."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                await self._round_trip(self._next_batch())

    def _next_batch(self) -> list[tuple[NewTrigger, asyncio.Future[AcceptReply]]]:
        """Return the newest requests whose clients still wait, as many as fit into one round trip.

        These requests are returned in the order in which they came. If more requests wait than fit, the newest requests
        are chosen. They are answered in time, and the older requests get a 503. If the oldest requests were chosen,
        they would be stored after their deadline, and the newer ones would be too late as well. A trigger for many
        recipients shares a round trip with only few other requests, because all of these wait until the whole trigger
        is stored.
        """
        while self._waiting and self._waiting[0][1].done():  # the oldest give up first, so this keeps the queue short
            self._waiting.popleft()
        batch: list[tuple[NewTrigger, asyncio.Future[AcceptReply]]] = []
        notifications = 0
        while self._waiting and len(batch) < self._settings.intake.group_commit_max:
            if notifications and notifications + len(self._waiting[-1][0].notifications) > NOTIFICATIONS_MAX:
                break
            pair = self._waiting.pop()
            if not pair[1].done():
                batch.append(pair)
                notifications += len(pair[0].notifications)
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
                return accepted(trigger, reply)
            case AcceptResult.REPLAYED:
                return await self._first_answer(trigger.id)
            case AcceptResult.CONFLICT:
                raise _conflict()
            case AcceptResult.LIMITED:
                if trigger.rate is None or reply.quota is None:
                    raise InvariantError("limited without a rate")
                raise LimitedError(trigger.rate, reply.quota)
            case AcceptResult.OUTDATED:
                self._templates.forget()
                raise UnavailableError("a template has just changed in the store")
            case AcceptResult.MOVED:
                raise MovedError(reply.cells)
            case AcceptResult.FULL:
                raise UnavailableError("the store is full", 5.0)
            case AcceptResult.ERROR:
                raise UnavailableError("the store refused the write", 5.0)

    async def _first_answer(self, tid: str) -> Accepted:
        view = await self._views.trigger(tid)
        if view is None:
            raise UnavailableError("the first answer has just expired")
        return replayed(view)

    def _check_headroom(self, trigger: NewTrigger) -> None:
        if self.nearly_full:
            raise UnavailableError("the store is nearly full", 5.0)
        for n in trigger.notifications:  # a fallback needs no room before it begins
            if n.follows is None and self.headroom.refuses(Lane(n.vendor, trigger.priority), trigger.tenant):
                full = f"the mailbox of {n.vendor} ({n.channel}) is full for priority {trigger.priority}"
                raise UnavailableError(full, 5.0)


def trigger_id(tenant: str, key: str | None, cell: str = FIRST_CELL) -> str:
    """Return a trigger id, `<cell>-<26 letters>`. The id is computed from tenant and key, or random without a key.

    So a trigger is found by its key, and the key needs no record of its own.
    """
    raw = hashlib.sha256(f"{tenant}\0{key}".encode()).digest()[:16] if key else secrets.token_bytes(16)
    return f"{cell}-{base64.b32encode(raw).decode().rstrip('=').lower()}"


def _conflict() -> CallerError:
    return CallerError("idempotency_key", "was used with another body", 409)


def _key(request: TriggerRequest, header_key: str | None) -> str | None:
    """Return the idempotency key of the header, or else of the body. Raises CallerError if both exist and differ."""
    if header_key is None:
        return request.idempotency_key
    check_key(header_key)
    if request.idempotency_key not in (None, header_key):
        raise CallerError("idempotency_key", "must be equal to the Idempotency-Key header")
    return header_key


def check_key(key: str) -> None:
    """Raise CallerError (400) unless `key` is an idempotency key."""
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable() or key != key.strip():
        rule = "must be 1 to 255 printable ASCII characters without a space at its ends"
        raise CallerError("Idempotency-Key", rule, 400)


def _fail(batch: Sequence[tuple[NewTrigger, asyncio.Future[AcceptReply]]], error: UnavailableError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
        with contextlib.suppress(asyncio.CancelledError):
            future.exception()  # otherwise asyncio logs "never retrieved" for a client that left
