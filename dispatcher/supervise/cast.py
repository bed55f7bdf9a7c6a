"""Keeps what the supervisor hears: which replicas there are, which cores are free, and which refusals by receipt the
intake replicas report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from dispatcher.core.plan.messages import Statement
from dispatcher.core.plan.placement import Placed
from dispatcher.core.plan.values import Beat, Report

SPOKE_S = 2.0
"""The time in seconds without a report or beat after which a replica no longer counts as placed.

Reports come every half second.
"""


REFUSED_HOLD_S = 10.0
"""The time in seconds for which the statement of an intake replica about receipts counts. It may have ended."""

CORES_HOLD_S = 5.0
"""The time in seconds for which a process's report of free cores counts."""

Refused: TypeAlias = Mapping[str, Mapping[str, int]]


class Cast:
    """The replicas of all pools from which the supervisor has heard.

    `replica` and `node` are the supervisor's own names.
    """

    def __init__(self, node: str, replica: str) -> None:
        self.node, self.replica = node, replica
        self.told_to_leave: tuple[str, ...] = ()
        self._known: dict[str, tuple[str, str, float, float]] = {}  # replica → pool, node, first and last heard
        self._refused: dict[str, tuple[float, Refused]] = {}  # intake process → when, and what it has heard
        self._cores: dict[str, tuple[str, float, float]] = {}  # process → its node, free cores there, when it said so

    def hear(self, told: Report | Statement, now_s: float) -> None:
        """Note the replica that sent this report. The replica is a vendor actor or belongs to intake."""
        pool = told.vendor if isinstance(told, Report) else "intake"
        if told.process.startswith(f"{pool}-"):
            self._note(told.process.removeprefix(f"{pool}-"), pool, told.node, now_s)
        if told.free_cores is not None:
            self._cores[told.process] = told.node, told.free_cores, now_s

    def free_cores(self, now_s: float) -> dict[str, float]:
        """Return the free cores of each node: the lowest number that a process there has reported lately."""
        self._cores = {process: told for process, told in self._cores.items() if now_s - told[2] <= CORES_HOLD_S}
        found: dict[str, float] = {}
        for node, free, _ in self._cores.values():
            found[node] = min(free, found.get(node, free))
        return found

    def hear_refused(self, told: Statement, now_s: float) -> bool:
        """Keep the refusals that an intake replica has learned from receipts and reports in `told`.

        Return True if by them a vendor refuses our account and did not refuse it by this replica's previous report.
        """
        before = self._refused.pop(told.process, (0.0, {}))[1]
        if told.refused:
            self._refused[told.process] = now_s, told.refused
        return any(counts.get("") and not before.get(name, {}).get("") for name, counts in told.refused.items())

    def refused(self, now_s: float) -> list[Refused]:
        """Return what each intake replica has told lately about refusals by receipt: how many, for each vendor and
        country.
        """
        return [told for at_s, told in self._refused.values() if now_s - at_s < REFUSED_HOLD_S]

    def hear_supervisor(self, beat: Beat, now_s: float) -> None:
        """Note another supervisor that sent this beat."""
        self._note(beat.replica, "supervisor", beat.node, now_s)

    def placed(self, now_s: float) -> list[Placed]:
        """Return this supervisor and the replicas that were heard in the last `SPOKE_S` seconds. Forget all others."""
        self._known = {name: known for name, known in self._known.items() if now_s - known[3] < SPOKE_S}
        self._note(self.replica, "supervisor", self.node, now_s)
        return [Placed(name, pool, node, now_s - first_s) for name, (pool, node, first_s, _) in self._known.items()]

    def _note(self, replica: str, pool: str, node: str, now_s: float) -> None:
        if replica and node:
            first_s = self._known[replica][2] if replica in self._known else now_s
            self._known[replica] = (pool, node, first_s, now_s)
