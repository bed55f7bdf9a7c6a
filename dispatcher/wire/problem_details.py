"""The refusals of the HTTP interface as problem details (RFC 9457). Their texts contain no value from the request."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.core.json_object import JsonObject
from dispatcher.errors import CallerError, LimitedError, UnavailableError
from dispatcher.wire.rate_limit import POLICY

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The problem type of a 429 because of the accept rate, from the draft on RateLimit fields."""

KEY_REUSED = "urn:resilient-dispatcher:problem:idempotency-key-reused"
"""The problem type of a 409. The draft on idempotency keys says 422 instead; docs/adr/0021 gives the reason."""


class Problem(BaseModel):
    """Problem details (RFC 9457), sent as application/problem+json. `field` is the dotted path of the wrong field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None
    violated_policies: list[str] | None = Field(default=None, serialization_alias="violated-policies")

    def shown(self) -> JsonObject:
        return self.model_dump(exclude_none=True, by_alias=True)

    @classmethod
    def of(cls, error: CallerError | UnavailableError) -> Problem:
        """Return the answer for `error`, with the error's own text. The text contains no value from the request."""
        if isinstance(error, CallerError):
            title = TITLES.get(error.status, "The request is refused")
            kind = KEY_REUSED if error.status == 409 else "about:blank"
            return cls(type=kind, title=title, status=error.status, detail=str(error), field=error.field)
        if isinstance(error, LimitedError):
            title = "The accept rate is used up"
            return cls(type=QUOTA_EXCEEDED, title=title, status=429, detail=error.reason, violated_policies=[POLICY])
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
