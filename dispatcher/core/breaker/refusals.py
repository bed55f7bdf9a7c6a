"""The rules by which unlisted refusals become evidence against the vendor that refused.

A refusal is *unlisted* if its code is in no list, so nobody knows whether the message or the vendor is its cause. If
each unlisted refusal counted as a failure, one tenant's invalid messages could cut off every vendor for all tenants,
one after the other. If no unlisted refusal counted, a vendor that refuses everything would stay in use. So:

1. A refusal is evidence if another vendor then accepted the same message (`Contradictions`). The accepting vendor's
   actor reports it, and the supervisor adds it to the failures of the vendor that refused.
2. Refusals are evidence if, for a whole window, `RECIPIENTS_MIN` or more recipients were refused and no message was
   accepted (`RefusedRecipients`). One success starts the window again. So bad messages between good ones never open
   the breaker.
3. Only a message's first refusal counts. A message that another vendor refused before is probably bad itself.
4. A vendor may accept a message and refuse it later by a receipt (`core.life.late_refusal`). Intake receives the
   receipts, so intake counts these refusals (`ToldRefusals`) if they concern our account or a country. A refusal of the
   account opens the vendor's breaker at once, as the same refusal in an answer does. `RECIPIENTS_MIN` refusals of one
   country cut off that country.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

RECIPIENTS_MIN = 10


@dataclass(slots=True)
class RefusedRecipients:
    """The recipients that one vendor has refused with unlisted codes since its last success, at most `RECIPIENTS_MIN`.

    `began_ns` is when this vendor last accepted a message, or when counting began.
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
        """Note that the vendor has refused a message to this recipient. Return True if the refusals are now evidence
        against the vendor (rule 2).

        The caller passes only refusals of messages that no other vendor had refused before (rule 3).
        """
        since_ns = now_ns - self.window_ns
        self._last_ns = {name: at_ns for name, at_ns in self._last_ns.items() if at_ns >= since_ns}
        if len(self._last_ns) < RECIPIENTS_MIN:
            self._last_ns[recipient] = now_ns
        return len(self._last_ns) >= RECIPIENTS_MIN and self.began_ns <= since_ns


@dataclass(slots=True)
class Contradictions:
    """The messages that this vendor accepted after another vendor had refused them with an unlisted code.

    The messages are remembered for `window_ns`.
    """

    window_ns: int
    _noted: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=1000))

    def note(self, vendors: tuple[str, ...], now_ns: int) -> None:
        self._noted.extend((now_ns, vendor) for vendor in vendors)

    def counts(self, now_ns: int) -> dict[str, int]:
        """Return how many refusals of each other vendor this vendor has contradicted within the last window.

        This vendor contradicts a refusal when it accepts the message that the other vendor refused.
        """
        while self._noted and self._noted[0][0] < now_ns - self.window_ns:
            self._noted.popleft()
        return dict(Counter(vendor for _, vendor in self._noted))


TOLD_NS = 60_000_000_000
"""The length of the window of refusals by receipt, in nanoseconds. Receipts come seconds after their calls."""


@dataclass(slots=True)
class ToldRefusals:
    """The refusals by receipt of the last `window_ns`. They are counted for each vendor and country.

    The country '' stands for a refusal of our whole account.
    """

    window_ns: int = TOLD_NS
    _noted: deque[tuple[int, str, str]] = field(default_factory=lambda: deque(maxlen=1000))

    def note(self, vendor: str, country: str, now_ns: int) -> None:
        self._noted.append((now_ns, vendor, country))

    def counts(self, now_ns: int) -> dict[str, dict[str, int]]:
        """Return, for each vendor and country, how many messages the vendor has refused by receipts within the last
        window.
        """
        while self._noted and self._noted[0][0] < now_ns - self.window_ns:
            self._noted.popleft()
        found: dict[str, dict[str, int]] = {}
        for _, vendor, country in self._noted:
            of_vendor = found.setdefault(vendor, {})
            of_vendor[country] = of_vendor.get(country, 0) + 1
        return found
