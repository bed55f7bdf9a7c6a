"""What a breaker is told, what it answers, and what it can say of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from dispatcher.core.breaker.config import BreakerState
from dispatcher.core.breaker.window import Rows


class BreakerResult(Enum):
    """How a call ended, as far as the breaker is concerned. Only the first two enter a window."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"  # the request's fault
    THROTTLED = "throttled"  # the vendor says slow down
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
    """Leave to make one call. Settled exactly once: recorded, released, expired or late."""

    generation: int
    lease_until_ns: int | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    state: BreakerState
    retry_after_ns: int


@dataclass(frozen=True, slots=True)
class BreakerMetrics:
    """A reading. Rates are percent, -1.0 while fewer than the minimum of results are in the window."""

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
    """What of a breaker outlives its process. Durations only: monotonic times mean nothing to another process.

    Permits are not in it: the calls they allowed died with the process, and a half-open stay begins again.

    Attributes:
        wait_ns: what is left of an open wait.
        stage: of the staged recovery; 0 while probing.
        closed_ns: how long ago it last closed: what the memory of former openings decays by.
        rows, least: content of the window, and the results it needs for a verdict.
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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BreakerSnapshot:
        """As written; what a newer version added is ignored. Raises KeyError, TypeError or ValueError otherwise."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        rows = Rows(data["rows"]["kind"], data["rows"]["size"], tuple(tuple(row) for row in data["rows"]["content"]))
        return cls(**{**known, "state": BreakerState(data["state"]), "rows": rows})


class IllegalTransitionError(Exception):
    """An operator asked for a transition that does not exist; nothing changed."""
