"""Liveness: which actors are dead, and which vendors' actors die too often.

Rules of silence, counted only while the listener itself was listening:

1. Silence grows only over an interval between two of the supervisor's own echoes at most `echo_gap_ms_max` apart: when
   Redis stalls or the supervisor is starved, its own echo is late too, and nobody is condemned for it.
2. A new supervisor starts every silence at 0, so it condemns nobody for its own absence.
3. More than half silent at once is more likely our ears than their deaths: then three times the patience. A lost
   machine silences everyone on it and nobody else: where that is the pattern, the usual patience holds.
4. Time in which a process of this machine waited for a core is no silence, up to `STARVED_MS_MAX` of it: one that is
   starved is not dead, and what it has in flight would be sent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

STARVED_MS_MAX = 8_000.0
"""One that does not get a core for ten seconds is no help either."""

LOOK_MS = 500.0
"""Only of those silent for two beats is it asked: it costs some reading."""


class SilenceWatch:
    """Counts each incarnation's silence, milliseconds. Times are monotonic milliseconds of the supervisor."""

    def __init__(self, silence_ms: int = 2000, echo_gap_ms_max: int = 500) -> None:
        self._silence_ms = silence_ms
        self._gap_ms_max = echo_gap_ms_max
        self._silence: dict[str, float] = {}
        self._starved: dict[str, float] = {}  # ms that were no silence, since its last beat
        self._last_echo_ms: float | None = None

    def on_beat(self, incarnation: str) -> None:
        self._silence[incarnation] = 0.0
        self._starved.pop(incarnation, None)

    def on_echo(self, now_ms: float, waited_ms: Callable[[str], float] = lambda incarnation: 0.0) -> None:
        """My own beat came back: everyone silent since the last one was silent that long.

        `waited_ms`: how long an incarnation has waited for a core since it was asked about last.
        """
        if self._last_echo_ms is not None:
            interval = now_ms - self._last_echo_ms
            if 0 < interval <= self._gap_ms_max:
                for incarnation, silence in self._silence.items():
                    starved = self._starved_ms(incarnation, waited_ms, interval) if silence >= LOOK_MS else 0.0
                    self._silence[incarnation] = silence + interval - starved
        self._last_echo_ms = now_ms

    def _starved_ms(self, incarnation: str, waited_ms: Callable[[str], float], interval: float) -> float:
        before = self._starved.get(incarnation, 0.0)
        found = max(0.0, min(waited_ms(incarnation), interval, STARVED_MS_MAX - before))
        self._starved[incarnation] = before + found
        return found

    def watch(self, live: Iterable[str]) -> None:
        """Watch exactly these: the incarnations the store calls live, heard or not."""
        self._silence = {incarnation: self._silence.get(incarnation, 0.0) for incarnation in live}
        self._starved = {name: ms for name, ms in self._starved.items() if name in self._silence}

    def dead(self, node_of: Mapping[str, str] | None = None) -> list[str]:
        """Return the incarnations to condemn now. `node_of`: incarnation → its machine, of those that told it."""
        silent = [name for name, ms in self._silence.items() if ms >= self._silence_ms]
        many = len(self._silence) > 2 and 2 * len(silent) > len(self._silence)
        patience = self._silence_ms * 3 if many and not self._machines_lost(node_of or {}) else 0
        return sorted(name for name in silent if self._silence[name] >= patience)

    def _machines_lost(self, node_of: Mapping[str, str]) -> bool:
        """Return True if each machine is silent as a whole or not at all, and one is heard."""
        silent_on: dict[str, set[bool]] = {}
        for name, ms in self._silence.items():
            silent_on.setdefault(node_of.get(name, ""), set()).add(ms >= LOOK_MS)
        return "" not in silent_on and {False} in silent_on.values() and all(len(a) == 1 for a in silent_on.values())


@dataclass(slots=True)
class RestartIntensity:
    """Whose actors die more often than `deaths_max` within `period_s`: the pool is quarantined for `quarantine_s`.

    After OTP's supervisors: so many deaths within the period are tolerated, the next one is not, and one exactly as old
    as the period still counts. Giving up differs: vendors are independent, so only this one's pool gets no work, and it
    gets a new chance. Deaths at the same time count once: a machine that dies takes several actors with it and is no
    sign of a pool that cannot live.
    """

    deaths_max: int = 5
    period_s: float = 60.0
    quarantine_s: float = 60.0
    _deaths_s: dict[str, list[float]] = field(default_factory=dict)
    _until_s: dict[str, float] = field(default_factory=dict)

    def on_deaths(self, vendors: Iterable[str], now_s: float) -> None:
        for vendor in set(vendors):
            recent = [at for at in self._deaths_s.get(vendor, ()) if now_s - at <= self.period_s]
            self._deaths_s[vendor] = [*recent, now_s]
            if len(recent) >= self.deaths_max:
                self._until_s[vendor] = now_s + self.quarantine_s
                self._deaths_s[vendor] = []

    def quarantined(self, now_s: float) -> set[str]:
        return {vendor for vendor, until_s in self._until_s.items() if now_s < until_s}
