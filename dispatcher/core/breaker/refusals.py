"""The rules by which unlisted refusals become evidence against the vendor that refused.

An unlisted refusal may be the message's fault or the vendor's. Counting each as a failure would let one tenant's
invalid messages cut off every vendor for everybody, one after the other. Counting none would keep a vendor in use that
refuses everything. So:

1. A refusal is evidence once another vendor accepted the same message (`Contradictions`). The accepting vendor's actor
   tells the supervisor, which adds it to the failures of the vendor that refused.
2. A refusal is evidence when, for a whole window, `RECIPIENTS_MIN` or more recipients were refused and none was
   accepted (`RefusedRecipients`). One success starts the window again, so bad messages between good ones open nothing.
3. Only a message's first refusal counts: a message that another vendor refused before is probably bad itself.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

RECIPIENTS_MIN = 10


@dataclass(slots=True)
class RefusedRecipients:
    """The recipients that one vendor refused with unlisted codes since its last success: at most `RECIPIENTS_MIN`.

    `began_ns` is when this vendor last accepted something, or when watching began.
    """

    window_ns: int
    began_ns: int
    _last_ns: dict[str, int] = field(default_factory=dict)

    @property
    def seen(self) -> bool:
        """Return True if any recipient was refused since the last success."""
        return bool(self._last_ns)

    def on_success(self, now_ns: int) -> None:
        self.began_ns = now_ns
        self._last_ns.clear()

    def on_refusal(self, recipient: str, now_ns: int) -> bool:
        """Note a first refusal; return True if the refusals are evidence against the vendor now."""
        since_ns = now_ns - self.window_ns
        self._last_ns = {name: at_ns for name, at_ns in self._last_ns.items() if at_ns >= since_ns}
        if len(self._last_ns) < RECIPIENTS_MIN:
            self._last_ns[recipient] = now_ns
        return len(self._last_ns) >= RECIPIENTS_MIN and self.began_ns <= since_ns


@dataclass(slots=True)
class Contradictions:
    """Counts, in a window of time, messages that this vendor accepted and another had refused with an unlisted code."""

    window_ns: int
    _noted: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=1000))

    def note(self, vendors: tuple[str, ...], now_ns: int) -> None:
        self._noted.extend((now_ns, vendor) for vendor in vendors)

    def counts(self, now_ns: int) -> dict[str, int]:
        """Return how many refusals of each vendor were contradicted here in the last window."""
        while self._noted and self._noted[0][0] < now_ns - self.window_ns:
            self._noted.popleft()
        return dict(Counter(vendor for _, vendor in self._noted))
