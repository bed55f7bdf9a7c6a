"""The messages that processes send each other through the store. Each kind is written and read by one class.

Rules:

1. A message is published as one JSON object, in the form that `to_dict` returns. `read_message` reads it.
2. A field that a newer version added is ignored. A field that an older version did not send has its default. So both
   versions work together during an upgrade.
3. A vendor actor publishes a `Report`, and an intake replica a `Statement`, on the same channel. A reader tells them
   apart, because only a report names an incarnation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.values import Beat, Plan, Report, Snapshot, number, read
from dispatcher.core.store.continuity import Mark


@dataclass(frozen=True, slots=True)
class Statement:
    """The report of an intake replica: its metrics, its CPU use, and how many triggers the store had accepted."""

    process: str
    """The name of this run of the process. A restarted process has another name."""
    node: str = ""
    metrics: Snapshot | None = field(default=None, compare=False)
    cpu: float | None = None
    """The cores that the replica's process used in the last second.

    For this and the next two fields, None means "not measured".
    """
    waiting: float | None = None
    free_cores: float | None = None
    refused: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By vendor and country: how many messages were refused by receipts lately (`core.breaker.refusals`)."""
    mark: Mark | None = None
    """How many triggers the store had accepted when this replica asked last. None means that it has not asked yet."""
    cells: int = 1
    """How many cells the replica can accept in: the first ones in their order (`core.cells`)."""

    def to_dict(self) -> JsonObject:
        """Return the form in which this report is published.

        A value that was not measured is left out, and so is a single cell. The field `mark` is published under the name
        `ledger`.
        """
        measured = {"cpu": self.cpu, "waiting": self.waiting, "free_cores": self.free_cores, "metrics": self.metrics}
        told = {name: value for name, value in measured.items() if value is not None}
        mark = {} if self.mark is None else {"ledger": [self.mark.life, self.mark.accepted]}
        refused = {"refused": self.refused} if self.refused else {}
        cells = {"cells": self.cells} if self.cells > 1 else {}
        return {"process": self.process, "node": self.node, **told, **refused, **mark, **cells}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Statement:
        """Return the statement that was published as `data`."""
        mark = Mark(*data["ledger"]) if "ledger" in data else None
        return read(cls, {"process": "", **data, "free_cores": number(data.get("free_cores")), "mark": mark})


@dataclass(frozen=True, slots=True)
class Sums:
    """The sum of all processes' metrics, and the term of the supervisor that added them up."""

    totals: Snapshot
    term: int = 0

    def to_dict(self) -> JsonObject:
        """Return the sums in the form in which they are published."""
        return {"totals": self.totals, "term": self.term}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sums:
        """Return the sum of the metrics (`Sums`) that was published as `data`."""
        return read(cls, data)


Message: TypeAlias = Beat | Report | Statement | Sums | Plan


def read_message(kind: str, data: Mapping[str, Any]) -> Message:
    """Return the message that was published as `data` on the channel `kind`: beat, report, totals or plan."""
    if kind == "report":
        return Report.from_dict(data) if "incarnation" in data else Statement.from_dict(data)
    return {"beat": Beat, "totals": Sums, "plan": Plan}[kind].from_dict(data)  # type: ignore[attr-defined,no-any-return]
