"""Liveness: which actors are dead, and which vendors' actors die too often.

Silence is the time without a beat of an actor. This time counts only while the supervisor itself could hear beats.
Rules:

1. The supervisor also beats, and receives its own beat as an echo. Silence grows from one echo to the next, if they are
   at most `echo_gap_ms_max` apart. If Redis stalls or the supervisor gets no CPU, its own echo is late too. Then no
   actor is declared dead.
2. A new supervisor starts every silence at 0, so its own absence never makes it declare an actor dead.
3. If more than half of all actors are silent at once, the supervisor's link is more likely at fault than the actors.
   Then three times the patience is needed. The usual patience holds if all actors of some machines are silent and those
   of the other machines are not: those machines are lost.
4. Time in which a process on this machine waited for a core does not count as silence, up to `STARVED_MS_MAX`. A
   process that gets no core is not dead. If it were declared dead, its calls in flight would be sent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

STARVED_MS_MAX = 8_000.0
"""The most milliseconds without a core that do not count as silence.

A process that gets no core for ten seconds delivers nothing, so it may as well be replaced.
"""

LOOK_MS = 500.0
"""The silence in milliseconds (two beats) after which an actor's wait for a core is read.

The reading costs CPU time.
"""


class SilenceWatch:
    """The silence of each incarnation, in milliseconds. All times are monotonic milliseconds of the supervisor."""

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
        """Note that the supervisor's own beat came back at `now_ms`. It left the supervisor as the actors' beats leave
        the actors.

        So the supervisor can hear beats again, and the time since the last such echo counts as silence of each actor
        that did not beat. `waited_ms(incarnation)` returns for how many milliseconds the process of this incarnation
        has waited for a core since `waited_ms` was last called for it. This waiting time does not count as silence.
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
        """Watch exactly these incarnations. The store calls them live, but some may not have sent a beat yet."""
        self._silence = {incarnation: self._silence.get(incarnation, 0.0) for incarnation in live}
        self._starved = {name: ms for name, ms in self._starved.items() if name in self._silence}

    def dead(self, node_of: Mapping[str, str] | None = None) -> list[str]:
        """Return the incarnations that should be declared dead now.

        `node_of` gives the machine of each incarnation whose machine is known.
        """
        silent = [name for name, ms in self._silence.items() if ms >= self._silence_ms]
        many = len(self._silence) > 2 and 2 * len(silent) > len(self._silence)
        patience = self._silence_ms * 3 if many and not self._machines_lost(node_of or {}) else 0
        return sorted(name for name in silent if self._silence[name] >= patience)

    def _machines_lost(self, node_of: Mapping[str, str]) -> bool:
        """Return True if the silence means that whole machines are lost.

        That is so if all actors of at least one machine are heard, and on each machine either all actors are silent or
        none is.
        """
        silent_on: dict[str, set[bool]] = {}
        for name, ms in self._silence.items():
            silent_on.setdefault(node_of.get(name, ""), set()).add(ms >= LOOK_MS)
        return "" not in silent_on and {False} in silent_on.values() and all(len(a) == 1 for a in silent_on.values())


@dataclass(slots=True)
class RestartIntensity:
    """Quarantines a vendor's pool for `quarantine_s` if more than `deaths_max` of its actors die within `period_s`.

    This follows OTP's supervisors: `deaths_max` deaths within the period are allowed, and the next one is not. A death
    that is exactly as old as the period still counts. OTP would stop everything; here only this vendor's pool gets no
    work, and after the quarantine it gets another chance. Deaths at the same time count as one, because the loss of a
    machine ends several actors.
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
