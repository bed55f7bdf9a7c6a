"""The shapes of the service's answers that commands and rehearsals read. Each has more fields than are named here."""

from __future__ import annotations

from typing import TypedDict


class CutOff(TypedDict):
    """For how many seconds a country has been cut off."""

    for_s: float


class ActorBreaker(TypedDict):
    """The breaker of one vendor actor. `cut_off` has an entry for each country that is cut off."""

    state: str
    cut_off: dict[str, CutOff]
    in_flight: int


class VendorRow(TypedDict, total=False):
    """A vendor in the answer of `GET /v1/vendors`. `attempts` is the number of calls by outcome."""

    name: str
    channel: str
    state: str
    reason: str
    held: str
    drains: list[str]
    queued: int
    places: dict[str, int]
    oldest_age_ms: int
    next_try: str | None
    replicas: int
    attempts: dict[str, float]
    breaker: list[ActorBreaker]


class BulkAnswer(TypedDict):
    """The answer of one call that redrives or discards dead letters.

    `refused` is the number of letters by reason. `cursor` is None after the last letter.
    """

    count: int
    refused: dict[str, int]
    cursor: str | None
    wait_s: float
