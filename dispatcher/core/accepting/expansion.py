"""The expansion of one trigger into its notifications and their addresses.

Rules:

1. If a request lists its own notifications, exactly these are sent. Its event is then only a label and may be unknown.
2. Otherwise the event's definition lists the channels and templates, and all of them are sent. If the recipient has no
   address for one of the channels, the request is refused. If only the other channels were sent, a notification would
   be lost silently.
3. Several recipients get the same notifications, each at its own addresses, in the order of the request. If two
   recipients have the same address, the request is refused, because nobody can tell which of the two is meant.
4. A fallback is a notification too. A fallback comes directly after the notification that it replaces, and needs its
   own address.
5. The latest version of a stored template is fixed here, so that a retry tomorrow sends the text accepted today. A
   tenant's own template is used before the common template of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dispatcher.core.life.choices import WaitFor
from dispatcher.errors import CallerError

Templates = Callable[[str], tuple[str, int] | None]

# The recipient's field that holds a channel's address.
ADDRESS_FIELDS = {"sms": "phone", "email": "email"}


class Recipient(Protocol):
    @property
    def email(self) -> str | None: ...
    @property
    def phone(self) -> str | None: ...


class Content(Protocol):
    @property
    def subject(self) -> str | None: ...
    @property
    def text(self) -> str: ...
    @property
    def html(self) -> str | None: ...


class Fallback(Protocol):
    """Says when a fallback begins, and on which channel it is sent. A subclass adds the message itself."""

    @property
    def channel(self) -> str: ...
    @property
    def after_s(self) -> int | None: ...
    @property
    def wait_for(self) -> WaitFor: ...


class ListedFallback(Fallback, Protocol):
    """A fallback that is listed in the request."""

    @property
    def template(self) -> str | None: ...
    @property
    def content(self) -> Content | None: ...


class Listed(Protocol):
    """A notification that is listed in the request, either with a template or with content."""

    @property
    def channel(self) -> str: ...
    @property
    def template(self) -> str | None: ...
    @property
    def content(self) -> Content | None: ...
    @property
    def fallback(self) -> ListedFallback | None: ...


class Request(Protocol):
    @property
    def event(self) -> str: ...
    @property
    def addressed(self) -> Sequence[tuple[str, Recipient]]: ...
    @property
    def notifications(self) -> Sequence[Listed] | None: ...


class MeantFallback(Fallback, Protocol):
    """A fallback that is listed in the event's definition."""

    @property
    def template(self) -> str: ...


class Meant(Protocol):
    """A notification that is listed in the event's definition."""

    @property
    def channel(self) -> str: ...
    @property
    def template(self) -> str: ...
    @property
    def fallback(self) -> MeantFallback | None: ...


class EventDefinition(Protocol):
    @property
    def notifications(self) -> Sequence[Meant]: ...


@dataclass(frozen=True, slots=True)
class Draft:
    """One notification before it is routed. Either `template` and its version are set, or `content` is set.

    Attributes:
        at: the path of this notification in the request, such as `notifications.0`; empty if the event's definition
            lists it.
        person: the index of the recipient in the request; 0 if there is only one.
        whose: the path of the recipient in the request, such as `recipient` or `recipients[3]`.
        fallback: when this draft is sent, if it is the fallback of the draft before it; otherwise None.
    """

    channel: str
    to: str
    template: str | None = None
    template_version: int | None = None
    content: Mapping[str, str] | None = None
    at: str = field(default="", compare=False)
    person: int = 0
    whose: str = field(default="recipient", compare=False)
    fallback: Fallback | None = field(default=None, compare=False)


def expand(request: Request, events: Mapping[str, EventDefinition], templates: Templates) -> list[Draft]:
    """Return one draft for each notification of a validated request, in the order of the request.

    Args:
        events: the configured events, by name.
        templates: returns the stored name and latest version of the template with a given name, or None.

    Raises CallerError (422) if the event or a template is unknown, if a recipient lacks an address, or if two
    recipients have the same address.
    """
    wanted, people = _wanted(request, events, templates), request.addressed
    drafts = [
        Draft(
            part.channel,
            _address(person, part.channel, whose),
            part.template,
            part.template_version,
            part.content,
            part.at,
            number,
            whose,
            part.fallback,
        )
        for number, (whose, person) in enumerate(people)
        for part in wanted
    ]
    if len(people) > 1:
        _refuse_repeats(drafts)
    return drafts


class _Part(NamedTuple):
    """A draft without its recipient."""

    channel: str
    template: str | None
    template_version: int | None
    content: Mapping[str, str] | None = None
    at: str = ""
    fallback: Fallback | None = None


def _wanted(request: Request, events: Mapping[str, EventDefinition], templates: Templates) -> list[_Part]:
    """Return a part for each message that a recipient gets. A fallback stands directly after its first notification.

    If the request lists its own notifications, these are used. Otherwise the notifications of the event are used.
    Raises CallerError if that event is not configured.
    """
    parts: list[_Part] = []
    if request.notifications is not None:
        for i, item in enumerate(request.notifications):
            at = f"notifications.{i}"
            parts.append(_listed(item, at, templates))
            if item.fallback is not None:
                parts.append(_listed(item.fallback, f"{at}.fallback", templates, item.fallback))
        return parts
    definition = events.get(request.event)
    if definition is None:
        raise CallerError("event", "must be a configured event, unless the request lists its own notifications")
    for meant in definition.notifications:
        parts.append(_Part(meant.channel, *_pinned(meant, "event", templates)))
        if meant.fallback is not None:
            f = meant.fallback
            parts.append(_Part(f.channel, *_pinned(f, "event", templates), fallback=f))
    return parts


def fallback_fault(channel: str, fallback: Fallback) -> tuple[str, str] | None:
    """Return the rule that a fallback breaks: the name of the wrong field, and what is allowed there. Return None if
    the fallback is right.

    `channel` is the channel of the notification that the fallback replaces.
    """
    if fallback.channel == channel:
        return "channel", f"must be another channel than {channel}"
    if fallback.wait_for == "delivered" and fallback.after_s is None:
        return "after_s", "is required if wait_for is delivered, because a receipt may never come"
    return None


def _listed(item: Listed | ListedFallback, at: str, templates: Templates, fallback: Fallback | None = None) -> _Part:
    if item.channel not in ADDRESS_FIELDS:
        rule = f"must be {' or '.join(ADDRESS_FIELDS)}; no vendor carries {item.channel}"
        raise CallerError(f"{at}.channel", rule)
    content = item.content
    if content is None:
        return _Part(item.channel, *_pinned(item, f"{at}.template", templates), None, at, fallback)
    parts = {"subject": content.subject, "text": content.text, "html": content.html}
    given = {name: part for name, part in parts.items() if part is not None}
    return _Part(item.channel, None, None, given, at, fallback)


def _address(recipient: Recipient, channel: str, whose: str) -> str:
    name = ADDRESS_FIELDS.get(channel)
    if name is None:
        raise CallerError(whose, f"has no address for the channel {channel}")
    address: str | None = getattr(recipient, name)
    if address is None:
        raise CallerError(f"{whose}.{name}", f"is required, because this trigger sends {channel}")
    return address


def _refuse_repeats(drafts: Sequence[Draft]) -> None:
    """Raise CallerError if two recipients have the same address. Addresses that differ only in case are the same."""
    seen: dict[tuple[str, str], Draft] = {}
    for draft in drafts:
        first = seen.setdefault((draft.channel, draft.to.lower()), draft)
        if first.person != draft.person:
            at = f"{draft.whose}.{ADDRESS_FIELDS[draft.channel]}"
            raise CallerError(at, f"must differ from that of {first.whose}; one address gets each notification once")


def _pinned(item: Listed | ListedFallback | Meant | MeantFallback, at: str, templates: Templates) -> tuple[str, int]:
    found = None if item.template is None else templates(item.template)
    if found is None:
        raise CallerError(at, f"must be a stored template, which {item.template} is not")
    return found
