"""The stored form of a trigger, version 1. The record has two parts, `m` and `d`.

`m` is kept until the retention ends. `d` has the personal data, and is deleted when all notifications have ended.

m = {"t": tenant, "e": event, "a": accepted ms, "p": priority, "u": on_unknown, "k": key, "l": locale,
     "n": [{"c": channel, "t": template, "v": version, "h": digest of the template, "ch": [chain],
            "s": [encoding, segments] of an SMS,
            "f": in a fallback, how many places earlier in this list the replaced notification stands}, …]}

After a redrive a notification may have a chain (`<index>.ch`, names) and a template (`<index>.tv`, as `3 name`) of its
own. These replace the values in `m` for this notification only. The other notifications and a replayed answer keep what
was accepted. The digest of such a template is in `<index>.td`, as `3:digest name`. The digest counts only for the
version and the name in `tv`, because an older release of this program does not know `td`, and leaves it unchanged when
it changes `tv`.

d = {"to": [address, …], "data": {…}, "co": [content or null, …], "r": recipient id}

For several recipients `m` has "i": [the place in "n" of each notification] and "ls": [the locale of each recipient].
Equal parts are then stored only once in "n". `d` has "rs": [recipient id, …] instead of "r", and "co" only for one
recipient. The notifications of one recipient are next to each other, and every recipient has the same number of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

from dispatcher.core.json_object import JsonObject
from dispatcher.core.life.notification import (
    Attempt,
    NewNotification,
    NewTrigger,
    Notification,
    State,
    TemplatePin,
    Trail,
)
from dispatcher.core.life.sms_text import SmsSize
from dispatcher.errors import UnreadableError

VERSION = 1


class Part(TypedDict, total=False):
    """One entry of the list `n`, which is in the field `m` of a stored record. An entry describes one notification.

    In a record for several recipients, one entry can describe several notifications that are alike.
    """

    c: str
    t: str | None
    v: int | None
    h: str
    ch: Sequence[str]
    s: tuple[Literal["gsm", "ucs2"], int]
    f: int


class Meta(TypedDict, total=False):
    """The field `m` of a record, as it is stored. The keys `i` and `ls` exist only for a trigger with several
    recipients.
    """

    t: str
    e: str
    a: int
    p: str
    u: str
    k: str | None
    l: str | None  # noqa: E741
    n: list[Part]
    i: list[int]
    ls: list[str | None]


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def encode_meta(trigger: NewTrigger) -> str:
    return dumps(
        {
            "t": trigger.tenant,
            "e": trigger.event,
            "a": trigger.accepted_ms,
            "p": trigger.priority,
            "u": trigger.on_unknown,
            "k": trigger.idempotency_key,
            "l": trigger.locale,
            **_parts(trigger),
        }
    )


def _parts(trigger: NewTrigger) -> Meta:
    """Return the fields about the notifications for the part `m` of the record: `n`, and for several recipients also
    `i` and `ls`.

    For several recipients, equal parts are stored only once, because each claim reads the whole record.
    """
    parts = [_part(n, i) for i, n in enumerate(trigger.notifications)]
    if not trigger.people:
        return {"n": parts}
    known: dict[str, int] = {}
    places = [known.setdefault(dumps(part), len(known)) for part in parts]
    return {"n": [json.loads(text) for text in known], "i": places, "ls": [person.locale for person in trigger.people]}


def part_of(meta: Meta, index: int) -> Part:
    """Return the part of `m` about the notification at `index`. Raises LookupError if there is none."""
    places = meta.get("i")
    return meta["n"][index if places is None else places[index]]


def parts_of(meta: Meta) -> list[Part]:
    """Return the part for each notification of a record, in their order. `meta` is the record's field `m`.

    Several notifications may share a part. Then it is returned for each of them.
    """
    places = meta.get("i")
    return list(meta["n"]) if places is None else [meta["n"][place] for place in places]


def chain_of(part: Part, own: str | None) -> tuple[str, ...]:
    """Return the chain of a notification. `own` is the chain that a redrive gave the notification, or None. Without it,
    the chain is the one from accept, in `part`.
    """
    return tuple(own.split()) if own else tuple(part["ch"])


def encode_pin(pin: TemplatePin) -> tuple[str, str]:
    """Return the two texts that a record has about a pin, in its fields `<index>.tv` and `<index>.td`.

    The second text is empty if the pin has no digest.
    """
    return f"{pin.version} {pin.name}", f"{pin.version}:{pin.digest} {pin.name}" if pin.digest else ""


def template_of(part: Part, own: str | None, digested: str | None = None) -> TemplatePin | None:
    """Return the version of a template from which a notification is rendered, or None if it has content instead of a
    template.

    `own` is the field `tv`, the template that the notification got at a redrive. Without it the accepted template
    counts. `digested` is the field `td`.
    """
    if not own:
        return None if part["t"] is None or part["v"] is None else TemplatePin(part["t"], part["v"], part.get("h"))
    found, same = _pin(own), _pin(digested) if digested else None  # `tv` had the digest for a time
    return found if same is None or not same.holds(found) else same


def _pin(text: str) -> TemplatePin:
    numbered, _, name = text.partition(" ")
    version, _, digest = numbered.partition(":")
    return TemplatePin(name, int(version), digest or None)


def person_of(meta: Meta, index: int) -> int | None:
    """Return the index of a notification's recipient. Return None if the trigger has only one recipient."""
    locales = meta.get("ls")
    return None if locales is None else index * len(locales) // len(meta["i"])


def _part(n: NewNotification, index: int) -> Part:
    part: Part = {"c": n.channel, "t": n.template, "v": n.template_version, "ch": n.chain}
    if n.template_digest is not None:
        part["h"] = n.template_digest
    if n.sms is not None:
        part["s"] = (n.sms.encoding, n.sms.segments)
    if n.follows is not None:
        part["f"] = index - n.follows.first
    return part


def decode_sms(part: Part) -> SmsSize | None:
    """Return the size of an SMS. `part` is the entry for this notification in the field `m` of its record.

    Return None on another channel, or if the record is old and does not have the size.
    """
    found = part.get("s")
    return SmsSize(found[0], found[1]) if found else None


def encode_data(trigger: NewTrigger) -> str:
    data: JsonObject = {"to": [n.to for n in trigger.notifications], "data": trigger.data}
    if trigger.people:  # each has the same contents in the same order
        first = [n.content for n in trigger.notifications if n.person == 0]
        return dumps({**data, "co": first, "rs": [person.id for person in trigger.people]})
    return dumps({**data, "co": [n.content for n in trigger.notifications], "r": trigger.recipient_id})


def recipient_of(data: str | None, index: int | None = None) -> str | None:
    """Return the caller's name for the recipient of a notification. It is read from `d`, the record's personal data.

    Return None if `d` is gone or damaged. `index` is the index of the notification in its trigger. For a trigger with
    one recipient it may be None.
    """
    try:
        found = json.loads(data or "{}")
        several = index is not None and "rs" in found
        name = found["rs"][index // len(found["co"])] if several and index is not None else found.get("r")
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) else None


FIELDS = ("m", "d", "x", "st", "n", "gen", "cr", "tr", "ep", "eid", "v", "ex", "ch", "tv", "td", "ro")
"""The fields of a record, in the order in which the scripts for claim and take return them."""

WHOLE = ("m", "d", "x", "v")
"""The fields that belong to the whole record. All others belong to one notification, as `<index>.<field>`."""

BROKEN: tuple[str | None, ...] = ("", "", *(None,) * 8, "0", *(None,) * 5)
"""The values that are used instead of the fields if a record's key is no hash. No version can read them."""


def decode_notification(notification_id: str, fields: Sequence[str | None]) -> Notification | None:
    """Return the notification of a claimed entry. Return None if its record or its data is gone.

    Raises UnreadableError if a later version wrote the record, or if it is damaged.
    """
    try:
        return _decode(notification_id, fields)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableError(f"{notification_id}: {type(error).__name__}") from error


def stub(notification_id: str, fields: Sequence[str | None]) -> Notification:
    """Return a notification for an unreadable record, with only the values that are needed to let it wait in `due`.

    Its other values are empty and must not be used.
    """
    state, attempts, tried = fields[3], fields[4] or "", fields[7]
    return Notification(
        id=notification_id,
        tenant="",
        event="",
        channel="",
        to="",
        chain=(),
        priority="",
        accepted_ms=0,
        expires_ms=0,
        on_unknown="",
        data={},
        attempts=int(attempts) if attempts.isdecimal() else 0,
        trail=decode_trail(tried),
        state=State.STARTED if state == "started" else State.QUEUED,
    )


def _decode(notification_id: str, fields: Sequence[str | None]) -> Notification | None:
    meta_text, data_text, expires, state, attempts, generation, crashes, tried, epoch, _, version, *own = fields
    own_expiry, own_chain, own_template, own_digest, reopened = own
    if meta_text is None or data_text is None:
        return None
    if version not in (None, str(VERSION)):
        raise ValueError(f"a record of version {version}")
    index = int(notification_id.rpartition(".")[2])
    meta: Meta = json.loads(meta_text)
    data = json.loads(data_text)
    part, person = part_of(meta, index), person_of(meta, index)
    pin = template_of(part, own_template, own_digest)
    return Notification(
        id=notification_id,
        tenant=meta["t"],
        event=meta["e"],
        channel=part["c"],
        to=data["to"][index],
        chain=chain_of(part, own_chain),
        priority=meta["p"],
        accepted_ms=meta["a"],
        expires_ms=int(own_expiry or expires or 0),
        on_unknown=meta["u"],
        data=data["data"],
        template=None if pin is None else pin.name,
        template_version=None if pin is None else pin.version,
        template_digest=None if pin is None else pin.digest,
        content=data["co"][index % len(data["co"])],
        locale=meta["l"] if person is None else meta["ls"][person],
        attempts=int(attempts or 0),
        generation=int(generation or 0),
        crashes=int(crashes or 0),
        trail=decode_trail(tried),
        moved_epoch=int(epoch or 0),
        state=State(state or "queued"),
        reopened=int(reopened or 0),
    )


DOUBTED, REFUSED, WAITS, REFUSALS = "!", "~", "#", "%"
"""The marks in a stored trail. The first two follow a vendor's name, the others precede a count.

No vendor's name contains any of them.
"""


def encode_trail(trail: Trail) -> str:
    """Return the trail as text, such as `sms-a! sms-b~ #2 %1`.

    Behind a vendor's name, `!` means doubted and `~` refused. The number after `#` is the number of waits, and the
    number after `%` is the number of refusals. A release that does not know a mark takes the name and the mark together
    for the name of an unknown vendor.
    """
    parts = [
        name + (DOUBTED if name in trail.doubted else REFUSED if name in trail.refused else "") for name in trail.tried
    ]
    counts = ((WAITS, trail.waits), (REFUSALS, trail.refusals))
    return " ".join([*parts, *(f"{mark}{count}" for mark, count in counts if count)])


def decode_trail(text: str | None) -> Trail:
    """Return the trail that `encode_trail` wrote. A damaged count is ignored."""
    parts = (text or "").split()
    names = [part for part in parts if part[0] not in (WAITS, REFUSALS)]
    counts = {part[0]: int(part[1:]) for part in parts if part[0] in (WAITS, REFUSALS) and part[1:].isdecimal()}
    return Trail(
        tuple(name.rstrip(DOUBTED + REFUSED) for name in names),
        tuple(name[:-1] for name in names if name[-1] in (DOUBTED, REFUSED)),
        tuple(name[:-1] for name in names if name[-1] == DOUBTED),
        counts.get(WAITS, 0),
        counts.get(REFUSALS, 0),
    )


def encode_attempt(attempt: Attempt | None) -> str:
    if attempt is None:
        return ""
    return dumps(
        [
            attempt.at_ms,
            attempt.vendor,
            attempt.outcome,
            attempt.reason,
            attempt.took_ms,
            attempt.vendor_message_id,
        ]
    )


def decode_history(text: str | None) -> tuple[Attempt, ...]:
    """Return the attempts in a stored history. Fields that a later version added to an attempt are ignored."""
    return tuple(Attempt(*line[:6]) for line in json.loads(f"[{text or ''}]"))
