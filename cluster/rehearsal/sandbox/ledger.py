"""Return the `Door`, the HAProxy of one machine, of the Ray node on which this process runs."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass, field
from typing import Any, TypedDict

RECEIVING = ("error", "hang", "reset", "garbage", "drip")
"""The modes in which a vendor may receive the message although it does not answer that it accepted it."""

TO = re.compile(r"\+[1-9]\d{0,14}|[^\s<>+\d][^\s<>]{0,99}", re.ASCII)
"""How the text `to` of a fault may look: + and digits, or the beginning of an address.

Digits without + are refused, because every telephone number here begins with +, so they would match nobody.
"""

MODES = ("none", "error", "hang", "slow", "throttle", "reset", "garbage", "drip", "reject")


class FaultError(ValueError):
    """A request for a fault was not valid. The text names the field and the rule."""


@dataclass(slots=True)
class Fault:
    """A fault of a vendor. The share `ratio` (0 to 1) of its calls is answered in the way that `mode` names.

    If `received` is True, the vendor still receives the message. `to` limits the fault to recipients that begin with
    this text, for example +49 for a country. An empty `to` means all recipients.
    """

    mode: str = "none"
    ratio: float = 1.0
    latency_ms: float = 50.0
    retry_after_s: float = 1.0
    received: bool = False
    to: str = ""

    @classmethod
    def parse(cls, body: Any, latency_ms: float) -> Fault:
        if not isinstance(body, dict):
            raise FaultError("body: must be a JSON object")
        unknown = set(body) - {"mode", "ratio", "latency_ms", "retry_after_s", "received", "to"}
        if unknown:
            raise FaultError(f"{min(unknown)}: is no field of a fault")
        fault = cls(latency_ms=latency_ms)
        fault.mode = body.get("mode", "none")
        if fault.mode not in MODES:
            raise FaultError(f"mode: must be one of {', '.join(MODES)}")
        for name, low, high in (("ratio", 0, 1), ("latency_ms", 0, 600_000), ("retry_after_s", 0, 86_400)):
            value = body.get(name, getattr(fault, name))
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise FaultError(f"{name}: must be a number from {low} to {high}")
            setattr(fault, name, float(value))
        fault.received = body.get("received", False)
        if not isinstance(fault.received, bool) or (fault.received and fault.mode not in RECEIVING):
            raise FaultError(f"received: must be true or false, and goes with {', '.join(RECEIVING)}")
        fault.to = body.get("to", "")
        if "to" in body and not (isinstance(fault.to, str) and TO.fullmatch(fault.to)):
            raise FaultError("to: must be how recipients begin: + and digits, as +49, or letters of an address")
        if fault.to and fault.mode == "none":
            raise FaultError("to: goes with a mode other than none")
        return fault

    def now(self, *recipients: str) -> str:
        """Return the mode for one call to these recipients. "none" means that the call is answered normally."""
        if self.mode == "none" or not any(to.startswith(self.to) for to in recipients):
            return "none"
        return self.mode if random.random() < self.ratio else "none"


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
