"""Decides what a start does about an application that does not run yet: wait, run it again, or give up.

If a replica dies or is slow, Serve replaces it, and the start only waits. If an application's replicas cannot start,
Serve gives up the application, and the start runs it again. After `RUNS_MAX` runs of an application the start fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

RUNS_MAX = 3
SAY_EVERY_S = 10.0


class Found(NamedTuple):
    """One application as Serve reports it. `given_up` is True if its replicas could not start and Serve tries no more.

    `reason` is Serve's explanation.
    """

    runs: bool
    given_up: bool = False
    reason: str = ""


class Step(NamedTuple):
    """The next step of a start.

    `again` names applications to run again. `say` is a text for the user. `end` is the reason if the start has failed.
    An empty value means nothing to do.
    """

    again: tuple[str, ...] = ()
    say: str = ""
    end: str = ""


@dataclass
class StartWatch:
    """Watches one start of the applications `names`."""

    names: Iterable[str]
    runs: dict[str, int] = field(default_factory=dict)
    _said_s: float | None = None

    def look(self, found: Mapping[str, Found], now_s: float) -> Step | None:
        """Return the next step, or None if every application runs. `now_s` is the monotonic time in seconds."""
        missing = [name for name in self.names if not found.get(name, Found(False)).runs]
        if not missing:
            return None
        again = [name for name in missing if name in found and found[name].given_up]
        for name in again:
            self.runs[name] = self.runs.get(name, 1) + 1
            if self.runs[name] > RUNS_MAX:
                return Step(end=f"{name} did not start in {RUNS_MAX} runs: {found[name].reason}")
        if self._said_s is None:
            self._said_s = now_s
        if not again and now_s - self._said_s < SAY_EVERY_S:
            return Step()
        self._said_s = now_s
        told = [f"{name} ({found[name].reason})" if name in found and found[name].reason else name for name in missing]
        return Step(tuple(again), f"still starting: {', '.join(told)}")
