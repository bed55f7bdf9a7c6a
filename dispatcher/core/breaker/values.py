"""The values that a breaker takes as arguments or returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.window import Rows
from dispatcher.core.json_object import JsonObject


class BreakerResult(Enum):
    """The end of a call as the breaker sees it. Only SUCCESS and FAILURE are counted in a window."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"  # the request's fault
    THROTTLED = "throttled"  # the vendor asks to slow down
    LOCAL = "local"  # our fault: cancelled, not sent


class EventKind(str, Enum):
    SUCCESS = "success"
    ERROR = "error"
    IGNORED = "ignored"
    NOT_PERMITTED = "not_permitted"
    FAILURE_RATE_EXCEEDED = "failure_rate_exceeded"
    SLOW_RATE_EXCEEDED = "slow_rate_exceeded"
    RESET = "reset"
    TRANSITION = "transition"


@dataclass(frozen=True, slots=True)
class BreakerEvent:
    kind: EventKind
    source: BreakerState | None = None
    to: BreakerState | None = None
    reason: str = ""


@dataclass(slots=True, eq=False)
class Permit:
    """A permit allows one call. The permit ends exactly once: with a result, a release, or the end of its lease."""

    generation: int
    lease_until_ns: int | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    state: BreakerState
    retry_after_ns: int


@dataclass(frozen=True, slots=True)
class BreakerMetrics:
    """The state, the rates and the counts of a breaker at one moment.

    Rates are percent, or -1.0 while the window has fewer results than the minimum.
    """

    state: BreakerState
    failure_rate: float
    slow_rate: float
    buffered: int
    failed: int
    slow: int
    slow_failed: int
    not_permitted: int
    generation: int
    attempts: int
    retry_after_ns: int


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """The part of a breaker's state that outlives its process.

    Times are durations, because monotonic times mean nothing to another process. There are no permits: their calls
    ended with the process, and a half-open stage begins again.

    Attributes:
        attempts: how often the breaker has opened, which makes the waits longer.
        wait_ns: the rest of an open wait.
        stage: the stage of recovery; 0 while probing.
        closed_ns: the time since the breaker last closed. The longer it is, the fewer former openings count.
        in_a_row: the failures since the last success.
        rows, least: the content of the window, and the number of results that a verdict needs.
    """

    state: BreakerState
    attempts: int = 0
    wait_ns: int = 0
    stage: int = 0
    closed_ns: int = 0
    in_a_row: int = 0
    not_permitted: int = 0
    rows: Rows = field(default_factory=Rows)
    least: int = 1

    def to_dict(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BreakerSnapshot:
        """Return the snapshot that `to_dict` wrote. Fields that a newer version added are ignored.

        Raises KeyError, TypeError or ValueError if `data` is anything else.
        """
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        rows = Rows(data["rows"]["kind"], data["rows"]["size"], tuple(tuple(row) for row in data["rows"]["content"]))
        return cls(**{**known, "state": BreakerState(data["state"]), "rows": rows})


class IllegalTransitionError(Exception):
    """An operator asked for a transition that is not allowed. The breaker is unchanged."""
