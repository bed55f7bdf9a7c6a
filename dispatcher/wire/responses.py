"""What the HTTP interface answers with. Never a recipient's address."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.errors import CallerError, UnavailableError

KEY_REUSED = "urn:resilient-dispatcher:problem:idempotency-key-reused"
"""The problem type of a 409. The draft on idempotency keys says 422; see docs/adr/0021."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AcceptedNotification(_Answer):
    id: str
    channel: str
    vendor: str
    state: str | None = Field(default=None, description='"suppressed": not sent, a limit stopped it; else absent')


class AcceptedResponse(_Answer):
    """The 202: everything named here is on disk. `replayed`: an earlier trigger with this key gave this answer."""

    id: str
    notifications: list[AcceptedNotification]
    replayed: bool = False


class Problem(_Answer):
    """Problem details (RFC 9457), sent as application/problem+json. `field`: dotted path of what to fix."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None

    @classmethod
    def of(cls, error: CallerError | UnavailableError) -> Problem:
        """The answer for one of our errors; its text is made by us and holds nothing of the request's values."""
        if isinstance(error, CallerError):
            title = TITLES.get(error.status, "The request is refused")
            kind = KEY_REUSED if error.status == 409 else "about:blank"
            return cls(type=kind, title=title, status=error.status, detail=str(error), field=error.field)
        return cls(title="Try again with the same idempotency key", status=503, detail=error.reason)


TITLES = {
    400: "The request is malformed",
    403: "The request is not allowed",
    404: "There is no such thing",
    405: "The method is not allowed here",
    408: "The body came too slowly",
    409: "The idempotency key belongs to another body",
    413: "The body is too large",
    415: "The media type is not supported",
    421: "The request is for another host",
    422: "The request is not valid",
    429: "Too many wrong keys",
}
