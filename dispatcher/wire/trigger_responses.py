"""The answers to a posted trigger: what was accepted, or what a dry run shows. No answer has a recipient's address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.core.life.notification import NewNotification, NewTrigger
from dispatcher.wire.moments import local


class Text(Protocol):
    """The parts of a rendered message."""

    @property
    def subject(self) -> str | None: ...
    @property
    def text(self) -> str: ...
    @property
    def html(self) -> str | None: ...


class Prepared(Protocol):
    """A trigger, and the rendered message of each of its notifications, in the same order."""

    @property
    def trigger(self) -> NewTrigger: ...
    @property
    def texts(self) -> Sequence[Text]: ...


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AcceptedNotification(_Answer):
    id: str
    channel: str
    vendor: str
    state: str | None = Field(
        default=None,
        description="`suppressed` if a limit stopped the notification, so that it is not sent. Otherwise absent.",
    )
    recipient: int | None = Field(
        default=None, description="The index of its recipient in `recipients`. Absent if there is only one recipient."
    )
    fallback_for: str | None = Field(
        default=None, description="The id of the notification whose fallback it is. Absent if it is no fallback."
    )


class AcceptedResponse(_Answer):
    """The body of a 202: everything named here is on disk.

    `replayed` is true if this is the answer to an earlier trigger with the same key.
    """

    id: str
    notifications: list[AcceptedNotification]
    replayed: bool = False


class SmsShown(_Answer):
    encoding: str
    segments: int


class DryRunNotification(_Answer):
    """One notification as it would be stored and sent now. `vendor` is the vendor for which it would be queued."""

    recipient: int | None = Field(description="The index of its recipient in `recipients`. Null if there is one.")
    fallback_for: int | None = Field(description="If it is a fallback, the index of its first in this list.")
    channel: str
    vendor: str
    chain: list[str]
    template: str | None
    template_version: int | None
    subject: str | None
    text: str
    html: str | None
    sms: SmsShown | None = Field(description="The size of the SMS. Null on other channels.")
    send_at_ms: int = Field(
        description="When it is sent: now, at `send_at` or at the end of quiet hours. For a fallback, the latest time."
    )
    send_at: str


class DryRunResponse(_Answer):
    """The body of a 200 to a trigger with `dry_run`. Nothing was stored, and no key and no limit was used up."""

    dry_run: bool = True
    event: str
    priority: str
    on_unknown: str
    expires_ms: int
    expires: str
    notifications: list[DryRunNotification]

    @classmethod
    def of(cls, prepared: Prepared) -> DryRunResponse:
        trigger = prepared.trigger
        pairs = zip(trigger.notifications, prepared.texts, strict=True)
        return cls(
            event=trigger.event,
            priority=trigger.priority,
            on_unknown=trigger.on_unknown,
            expires_ms=trigger.expires_ms,
            expires=local(trigger.expires_ms),
            notifications=[_would_be(trigger, notification, text) for notification, text in pairs],
        )


def _would_be(trigger: NewTrigger, n: NewNotification, text: Text) -> DryRunNotification:
    send_at_ms = n.send_at_ms or trigger.send_at_ms or trigger.accepted_ms
    return DryRunNotification(
        recipient=n.person if trigger.people else None,
        fallback_for=None if n.follows is None else n.follows.first,
        channel=n.channel,
        vendor=n.vendor,
        chain=list(n.chain),
        template=n.template,
        template_version=n.template_version,
        subject=text.subject,
        text=text.text,
        html=text.html,
        sms=None if n.sms is None else SmsShown(encoding=n.sms.encoding, segments=n.sms.segments),
        send_at_ms=send_at_ms,
        send_at=local(send_at_ms),
    )
