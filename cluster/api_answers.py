"""The types of the service's answers that commands and rehearsals read. The answers also have fields not named here."""

from __future__ import annotations

from typing import TypedDict


class CutOff(TypedDict):
    """A country that is cut off. `for_s` is the time in seconds since the cut-off began."""

    for_s: float


class ActorBreaker(TypedDict):
    """The breaker of one vendor actor. `cut_off` has an entry for each country that is cut off."""

    state: str
    cut_off: dict[str, CutOff]
    in_flight: int


class VendorRow(TypedDict, total=False):
    """A vendor in the answer of `GET /v1/vendors`. `attempts` maps each outcome to its number of calls."""

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

    `refused` maps each reason to the number of letters refused for it. `cursor` is None after the last letter.
    """

    count: int
    refused: dict[str, int]
    cursor: str | None
    wait_s: float
