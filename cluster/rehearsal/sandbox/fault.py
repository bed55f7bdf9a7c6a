"""The faults that a vendor of the sandbox can have, and how a request for one is read.

`http.py` and `smtp.py` play the modes: a new mode needs its branch in both.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

RECEIVING = ("error", "hang", "reset", "garbage", "drip")
"""The modes in which a vendor may receive the message although it does not answer that it accepted it."""

TO = re.compile(r"\+[1-9]\d{0,14}|[^\s<>+\d][^\s<>]{0,99}", re.ASCII)
"""How the text `to` of a fault may look: + and digits, or the beginning of an address.

Digits without + are refused, because every telephone number here begins with +, so they would match nobody.
"""

MODES = ("none", "error", "hang", "slow", "throttle", "reset", "garbage", "drip", "reject")


class FaultError(ValueError):
    """A request to the sandbox for a fault was not valid. The error's text names the field and the rule that it
    breaks.
    """


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
