"""The sandbox's record of what it received. Every drill is judged by this record, not by our logs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TypedDict

from cluster.rehearsal.sandbox.fault import Fault

Delivery = TypedDict("Delivery", {"t": float, "to": str, "text": str, "subject": "str | None", "id": str, "from": str})
"""A message that a vendor has received. `t` is in epoch seconds."""


class Received(TypedDict, total=False):
    """The report of the sandbox about one vendor. Times are epoch seconds. The last three fields are there only on
    request.
    """

    vendor: str
    mode: str
    accepted: int
    refused: int
    calls: int
    first_call: float | None
    last_call: float | None
    first_failure: float | None
    last_failure: float | None
    received: list[Delivery]
    call_log: list[tuple[float, str]]
    faults: list[tuple[float, str]]


@dataclass(slots=True)
class Vendor:
    """One vendor of the sandbox: its current fault, and every call it received."""

    name: str
    fault: Fault = field(default_factory=Fault)
    deliveries: list[Delivery] = field(default_factory=list)
    calls: list[tuple[float, str]] = field(default_factory=list)
    faults: list[tuple[float, str]] = field(default_factory=list)

    def note(self, outcome: str) -> None:
        self.calls.append((time.time(), outcome))

    def deliver(self, to: str, text: str, message_id: str, subject: str | None = None, *, sender: str = "") -> None:
        self.note("accepted")
        self.receive(to, text, message_id, subject, sender=sender)

    def receive(self, to: str, text: str, message_id: str, subject: str | None = None, *, sender: str = "") -> None:
        """Record that this vendor has received the message, even if the caller gets an error."""
        self.deliveries.append(
            {"t": time.time(), "to": to, "text": text, "subject": subject, "id": message_id, "from": sender}
        )

    def set_fault(self, fault: Fault) -> None:
        self.fault = fault
        self.faults.append((time.time(), fault.mode))

    def summary(self, full: bool = False) -> Received:
        """Return counts and times (epoch seconds). With `full`, also return every delivery, every call and every
        fault.
        """
        failures = [t for t, outcome in self.calls if outcome != "accepted"]
        result: Received = {
            "vendor": self.name,
            "mode": self.fault.mode,
            "accepted": len(self.deliveries),
            "refused": len(self.calls) - len(self.deliveries),
            "calls": len(self.calls),
            "first_call": self.calls[0][0] if self.calls else None,
            "last_call": self.calls[-1][0] if self.calls else None,
            "first_failure": failures[0] if failures else None,
            "last_failure": failures[-1] if failures else None,
        }
        if full:
            result["received"] = self.deliveries
            result["call_log"] = self.calls
            result["faults"] = self.faults
        return result


class Ledger:
    """All vendors of the sandbox. A vendor is made when its name is first used."""

    def __init__(self, latency_ms: float = 50.0) -> None:
        self.latency_ms = latency_ms
        self._vendors: dict[str, Vendor] = {}

    def vendor(self, name: str) -> Vendor:
        if name not in self._vendors:
            self._vendors[name] = Vendor(name, Fault(latency_ms=self.latency_ms))
        return self._vendors[name]

    def all(self) -> list[Vendor]:
        return list(self._vendors.values())

    def reset(self) -> None:
        self._vendors.clear()
