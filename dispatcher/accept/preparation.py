"""Prepares a posted trigger to be stored: expand, render, route. Nothing is stored or counted here.

A dry run does only this. So its answer shows what the same body would become.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import time
from functools import partial

from dispatcher.config.settings import EventSettings, QuietHours, Settings
from dispatcher.core.accepting.caps import caps_of
from dispatcher.core.accepting.expansion import Draft, Fallback, expand
from dispatcher.core.accepting.quiet_hours import after_quiet, zone
from dispatcher.core.accepting.routing import Traffic, choose_chain
from dispatcher.core.accepting.segments import EventLimit, able_vendors
from dispatcher.core.accepting.wording import missing_text
from dispatcher.core.life.decide import decide_mailbox
from dispatcher.core.life.fallback import LOOK_AGAIN_MS
from dispatcher.core.life.notification import Follows, NewNotification, NewTrigger, Person, notification_id
from dispatcher.core.life.sms_text import SmsSize, forbidden, measure
from dispatcher.core.plan.values import Plan
from dispatcher.errors import CallerError, TemplateError, TemplateGoneError, UnavailableError
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.compile import Rendered
from dispatcher.wire.trigger import Recipient, TriggerRequest, check_send_at, phone_region

DEFAULT_EXPIRES_S = 86_400
NOTIFICATIONS_MAX = 500
"""The most notifications of one trigger. One script stores them all, and occupies the store for some milliseconds."""

PAUSE_AFTER = 20
"""How many notifications are routed before a pause. So a large trigger does not delay other requests."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A request whose shape is correct, with the id that its trigger gets."""

    tenant: str
    request: TriggerRequest
    id: str
    body_hash: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A trigger, and the rendered message of each of its notifications, in the same order."""

    trigger: NewTrigger
    texts: tuple[Rendered, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """When each notification may be sent (`sends_ms`), and how long its time to live is, in wall milliseconds.

    `sends_ms` has one entry for each notification, in order. A fallback has the time of the notification that it
    replaces.
    """

    now_ms: int
    sends_ms: tuple[int, ...]
    ttl_ms: int

    @property
    def common_ms(self) -> int | None:
        """Return the time from which all notifications may be sent.

        Return None if they may be sent now, or if their times differ.
        """
        first = self.sends_ms[0]
        return first if first > self.now_ms and len(set(self.sends_ms)) == 1 else None

    def of(self, n: NewNotification, place: int, fallback: Fallback | None) -> NewNotification:
        """Return `n` with the times that the store needs for it. `place` is the index of `n` in the trigger.

        A fallback becomes due `after_s` after the time at which its first notification is sent. Without an `after_s` it
        becomes due soon after the time to live of the first notification ends. If the first notification ends earlier,
        the store decides about the fallback at once.

        A notification that is no fallback usually uses the times of its trigger. It gets times of its own only if the
        notifications of the trigger are sent at different times.
        """
        send_ms = self.sends_ms[place]
        ends_ms = send_ms + self.ttl_ms
        if fallback is not None:
            begin_ms = None if fallback.after_s is None else send_ms + 1000 * fallback.after_s
            follows = Follows(place - 1, fallback.wait_for, begin_ms, self.ttl_ms)
            look_ms = begin_ms or ends_ms + LOOK_AGAIN_MS
            return replace(n, send_at_ms=look_ms, expires_ms=ends_ms + self.ttl_ms, follows=follows)
        if len(set(self.sends_ms)) == 1:
            return n
        return replace(n, send_at_ms=send_ms if send_ms > self.now_ms else None, expires_ms=ends_ms)


class Preparation:
    """Turns requests into triggers, with one configuration."""

    def __init__(self, settings: Settings, templates: TemplateCache) -> None:
        self._settings, self._templates = settings, templates

    async def prepare(self, posted: Posted, plan: Plan, now_ms: int) -> Prepared:
        """Return the trigger as it would be stored at `now_ms` (wall milliseconds). `plan` chooses the mailboxes.

        The messages are rendered here, and a trigger whose messages cannot be rendered is refused. A rendering takes
        about 20 us. Raises CallerError, or UnavailableError if a version cannot be read.
        """
        request = posted.request
        check_send_at(request, now_ms)
        event = self._settings.events.get(request.event)
        people = request.addressed
        drafts = expand(request, self._settings.events, partial(self._templates.find, posted.tenant))
        priority = request.priority or (event.priority if event else "normal")
        if len(drafts) > NOTIFICATIONS_MAX:
            raise CallerError("recipients", f"must lead to at most {NOTIFICATIONS_MAX} notifications in all")
        texts, digests = await self._render(request, drafts)
        timing = _timing(request, drafts, event, priority, now_ms=now_ms)
        rendered = list(zip(drafts, texts, digests, strict=True))
        notifications = await self._notifications(posted, rendered, plan, timing, priority=priority)
        several = request.recipients is not None
        trigger = NewTrigger(
            id=posted.id,
            tenant=posted.tenant,
            event=request.event,
            body_hash=posted.body_hash,
            accepted_ms=now_ms,
            expires_ms=max(timing.sends_ms) + timing.ttl_ms,
            priority=priority,
            on_unknown=request.on_unknown or (event.on_unknown if event else "resend"),
            data=request.data,
            notifications=notifications,
            recipient_id=None if several else people[0][1].id,
            locale=None if several else people[0][1].locale,
            send_at_ms=timing.common_ms,
            idempotency_key=posted.key,
            people=tuple(Person(who.id, who.locale) for _, who in people) if several else (),
            rate=share.rate if (share := self._settings.tenants.get(posted.tenant)) else None,
        )
        return Prepared(trigger, tuple(texts))

    async def _notifications(
        self,
        posted: Posted,
        rendered: Sequence[tuple[Draft, Rendered, str | None]],
        plan: Plan,
        timing: Timing,
        *,
        priority: str,
    ) -> tuple[NewNotification, ...]:
        """Return the notification of each draft, with its vendor and its times. Raises CallerError."""
        notifications: list[NewNotification] = []
        for place, (draft, text, digest) in enumerate(rendered):
            _check_text(draft, text)
            routed = self._route(posted, draft, text, plan, index=place, priority=priority)
            if draft.fallback is not None and draft.fallback.wait_for == "delivered":
                self._check_told(f"{draft.at}.wait_for" if draft.at else "event", notifications[-1].chain)
            notifications.append(timing.of(replace(routed, template_digest=digest), place, draft.fallback))
            if place % PAUSE_AFTER == PAUSE_AFTER - 1:
                await asyncio.sleep(0)
        return tuple(notifications)

    async def _render(
        self, request: TriggerRequest, drafts: Sequence[Draft]
    ) -> tuple[list[Rendered], list[str | None]]:
        """Return the text of each draft, and the digest of each draft's template.

        A draft without a template has the digest None.
        """
        done: dict[tuple[str, int, str | None], Rendered] = {}
        digests: dict[tuple[str, int], str] = {}
        texts, pinned, people = [], list[str | None](), request.addressed
        for draft in drafts:
            if draft.template is None or draft.template_version is None:
                content = draft.content or {}
                texts.append(Rendered(content.get("subject"), content.get("text", ""), content.get("html")))
                pinned.append(None)
                continue
            version = draft.template, draft.template_version, people[draft.person][1].locale
            if version not in done:
                try:
                    compiled = await self._templates.get(*version[:2])
                    done[version] = compiled.render(request.data, version[2])
                    digests[version[:2]] = compiled.digest
                except TemplateGoneError:  # we asked for the latest version, so the store has lost it since
                    raise UnavailableError(f"the template {draft.template} is being stored") from None
                except TemplateError as error:
                    raise CallerError("data", str(error)) from None
                if len(done) % PAUSE_AFTER == 0:
                    await asyncio.sleep(0)
            texts.append(done[version])
            pinned.append(digests[version[:2]])
        return texts, pinned

    def _route(
        self, posted: Posted, draft: Draft, text: Rendered, plan: Plan, *, index: int, priority: str
    ) -> NewNotification:
        request, size = posted.request, None
        country = phone_region(draft.to) if draft.channel == "sms" else None
        allowed = self._settings.limits.sms_countries
        if draft.channel == "sms" and allowed is not None and country not in allowed:
            rule = f"must be of a country in limits.sms_countries, and is of {country or 'an unknown country'}"
            raise CallerError(f"{draft.whose}.phone", rule)
        traffic = Traffic(draft.channel, request.event, posted.tenant, country, priority)
        try:
            chain = choose_chain(self._settings.routes, traffic, notification_id(posted.id, index))
        except CallerError as error:
            raise CallerError(draft.whose, error.rule) from None
        if draft.channel == "sms":
            chain, size = self._check_segments(request.event, draft, text.text, chain)
        caps = self._settings.limits.recipient_caps
        fits = plan.accepts_new if any(plan.accepts_new(name) for name in chain) else plan.usable
        return NewNotification(
            channel=draft.channel,
            to=draft.to,
            chain=chain,
            vendor=decide_mailbox(chain, (), fits, plan.recovering, known=_any) or chain[0],
            template=draft.template,
            template_version=draft.template_version,
            content=draft.content,
            caps=caps_of(caps, posted.tenant, request.event, draft.channel, priority=priority, address=draft.to),
            sms=size,
            person=draft.person,
        )

    def _check_told(self, field: str, chain: tuple[str, ...]) -> None:
        """Raise CallerError, which names `field`, if nobody would report whether the first notification was delivered.

        This is checked if a fallback waits for that delivery. `chain` is the chain of the first notification. Nobody
        reports the delivery if receipts are not configured, or if a vendor of `chain` sends no receipts.
        """
        if self._settings.receipts.public_url is None:
            raise CallerError(field, "must not be delivered, because receipts are not configured")
        for name in chain:
            if not self._settings.vendors[name].tells_delivery:
                raise CallerError(field, f"must not be delivered, because the vendor {name} sends no receipts")

    def _check_segments(
        self, event: str, draft: Draft, text: str, chain: tuple[str, ...]
    ) -> tuple[tuple[str, ...], SmsSize]:
        """Return the vendors of `chain` that may send this text as an SMS, and the size of the text in segments.

        Raises CallerError, which names the field, if the text has a forbidden character or needs too many segments.
        """
        field = f"{draft.at}.content.text" if draft.template is None else "data"
        broken = forbidden(text)
        if broken is not None:
            raise CallerError(field, broken)
        size = measure(text)
        definition: EventSettings | None = self._settings.events.get(event)
        most = None if definition is None else definition.segments_max
        limit = None if most is None else EventLimit(event, most)
        vendors_max = {name: self._settings.vendors[name].segments_max for name in chain}
        return able_vendors(chain, size, vendors_max, limit, field=field), size


def _check_text(draft: Draft, said: Rendered) -> None:
    """Raise CallerError if a part of the message is missing or blank.

    The error names that part, or the data and the template from which the part was rendered.
    """
    missing = missing_text(draft.channel, said.subject, said.text)
    if missing is not None and draft.template is None:
        raise CallerError(f"{draft.at}.content.{missing[0]}", missing[1])
    if missing is not None:
        raise CallerError("data", f"template {draft.template}, {missing[0]}: {missing[1]}")


def _timing(
    request: TriggerRequest, drafts: Sequence[Draft], event: EventSettings | None, priority: str, *, now_ms: int
) -> Timing:
    """Return when each draft may be sent, and how long the trigger lives."""
    lives_s = request.expires_in_s or (event.expires_in_s if event else DEFAULT_EXPIRES_S)
    return Timing(now_ms, _sends_ms(request, drafts, event, priority, now_ms=now_ms), 1000 * lives_s)


def _sends_ms(
    request: TriggerRequest, drafts: Sequence[Draft], event: EventSettings | None, priority: str, *, now_ms: int
) -> tuple[int, ...]:
    """Return when each draft may be sent, in wall milliseconds.

    A draft waits for the end of the quiet hours of its channel, in its recipient's time zone. A fallback has the time
    of its first notification.
    """
    people = request.addressed
    known: dict[tuple[int, str], int] = {}
    times: list[int] = []
    for draft in drafts:
        if draft.fallback is not None:  # a fallback has its first's time, without quiet hours of its own
            times.append(times[-1])
            continue
        whose = draft.person, draft.channel
        if whose not in known:
            quiet = event.quiet_for(draft.channel) if event else None
            known[whose] = _send_at_ms(request, people[draft.person], quiet, priority, now_ms=now_ms)
        times.append(known[whose])
    return tuple(times)


def _send_at_ms(
    request: TriggerRequest, who: tuple[str, Recipient], quiet: QuietHours | None, priority: str, *, now_ms: int
) -> int:
    """Return the earliest time at which this recipient may be sent a message, in wall milliseconds.

    This time is now or `send_at`. If it falls into the recipient's quiet hours, the end of the quiet hours is returned
    instead.
    """
    whose, name = who[0], who[1].time_zone
    try:
        own = None if name is None else zone(name)
    except ValueError as error:
        raise CallerError(f"{whose}.time_zone", str(error)) from None
    at_ms = max(now_ms, request.send_at_ms or 0)
    if quiet is None or priority == "high":
        return at_ms
    begin, end = time.fromisoformat(quiet.begin), time.fromisoformat(quiet.end)
    return after_quiet(at_ms, begin, end, own or zone(quiet.time_zone))


def _any(vendor: str) -> bool:
    """Return True: every vendor of a chain counts as known. The settings allow only configured vendors in routes."""
    return True
