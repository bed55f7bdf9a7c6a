"""The vendor actors and the metrics of all processes, as one intake replica knows them from published reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dispatcher.core.plan.messages import Message, Statement, Sums
from dispatcher.core.plan.values import Report, Snapshot
from dispatcher.core.store.continuity import Continuity
from dispatcher.ports import Clock

SHOWN_S = 1.0
"""The time in seconds without a report after which an actor is not shown any more.

A report comes twice a second by default.
"""

KEPT_S = 5.0
"""The time in seconds for which the gauges still count an actor's last report."""


NOTHING_COUNTED: Snapshot = {"c": [], "h": []}


@dataclass(frozen=True, slots=True)
class HeardReport:
    """The latest report of an actor, and the monotonic time at which it came.

    `accepted` is how many messages vendors have accepted from the reporting process since its start.
    """

    report: Report
    accepted: int
    heard_s: float


class Fleet:
    """The latest report of each vendor actor, and the latest sum of all metrics. `hear` is called for each message."""

    def __init__(self, clock: Clock, continuity: Continuity) -> None:
        """Begin without reports. `continuity` notes how many triggers the store had accepted, as other intake replicas
        report it.
        """
        self._clock, self._continuity = clock, continuity
        self._heard: dict[str, HeardReport] = {}
        self.totals = NOTHING_COUNTED

    def hear(self, message: Message) -> None:
        """Note a published message: an actor's report, the sum of all metrics, or an intake replica's statement."""
        if isinstance(message, Sums):
            self.totals = message.totals
        elif isinstance(message, Statement) and message.mark is not None:
            self._continuity.told(message.mark)
        elif isinstance(message, Report):
            accepted = _accepted(message.metrics or NOTHING_COUNTED)
            self._heard[message.incarnation] = HeardReport(message, accepted, self._clock.now_s())

    def heard(self) -> list[HeardReport]:
        """Return the reports that came in the last five seconds."""
        since_s = self._clock.now_s() - KEPT_S
        self._heard = {name: one for name, one in self._heard.items() if one.heard_s > since_s}
        return list(self._heard.values())

    def of(self, vendor: str) -> list[Report]:
        """Return the reports of the last second from a vendor's actors, sorted by incarnation."""
        since_s = self._clock.now_s() - SHOWN_S
        live = [one.report for one in self.heard() if one.report.vendor == vendor and one.heard_s > since_s]
        return sorted(live, key=lambda report: report.incarnation)

    def manned(self) -> set[str]:
        """Return the vendors that have a working actor. An actor counts if its report came in the last five seconds."""
        return {one.report.vendor for one in self.heard()}

    def attempts(self, vendor: str) -> dict[str, int]:
        """Return how many calls all processes together have made to a vendor, by outcome."""
        return {labels[1]: count for labels, count in _attempts(self.totals) if labels[0] == vendor}


def _attempts(snapshot: Snapshot) -> Iterator[tuple[list[str], int]]:
    return ((labels, n) for metric, labels, n in snapshot["c"] if metric == "dispatcher_attempts")


def _accepted(snapshot: Snapshot) -> int:
    return int(sum(count for labels, count in _attempts(snapshot) if labels[1] == "accepted"))
