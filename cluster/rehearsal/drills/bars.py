"""The limits that the figures of each drill must keep, in its worst run. Here such a limit is called a bar.

`dispatcher drill` and docs/drills.md show these limits. They were chosen for two cores, 100 triggers a second and the
sandbox's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.rehearsal.demo import BREAKER
from cluster.rehearsal.drills.catalogue import DRILLS
from dispatcher.core.breaker.config import SECOND_NS

SLOW_S = BREAKER.slow_ns / SECOND_NS
"""The sandbox's threshold for a slow call, in seconds. A hanging vendor cannot be cut off before this time."""


def probes_most(seconds: float, answers_s: float = 0.0) -> int:
    """Return the most probes that an open breaker may send to a vendor that fails for `seconds`.

    The vendor answers each call after `answers_s` seconds. The breaker opens, waits and sends its probes. All of them
    fail, so it opens again and waits longer. The count assumes the shortest waits that the settings allow.
    """
    at_s, opened = answers_s, 0
    while True:
        opened += 1
        at_s += BREAKER.open_wait_ns(opened, 1.0) / SECOND_NS
        if at_s >= seconds:
            return (opened - 1) * BREAKER.half_open_calls
        at_s += answers_s


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit for one figure (a name in `report.FIELDS`) of one drill. `must` is a maximum, or a minimum if
    `least` is True.
    """

    drill: str
    figure: str
    must: float
    least: bool = False

    def met(self, worst: float) -> bool:
        return worst >= self.must if self.least else worst <= self.must

    def told(self, worst: float) -> str:
        """Return the line of the drill's report about this limit: the figure of the worst run, the limit, and whether
        it was kept.
        """
        bound = "at least" if self.least else "at most"
        return f"{self.drill}: {self.figure} {worst:g}, {bound} {self.must:g}: {'met' if self.met(worst) else 'MISSED'}"


BARS = (
    Bar("vendor-error", "failover s", 0.5),
    Bar("vendor-error", "probes", probes_most(DRILLS["vendor-error"].seconds)),
    Bar("vendor-hang", "failover s", SLOW_S + 0.5),
    Bar("vendor-hang", "probes", probes_most(DRILLS["vendor-hang"].seconds, SLOW_S)),
    Bar("vendor-half", "switches a minute", 2),
    # Half of the calls fail and are repeated at another vendor within half a second. So 5 % of what is due in five
    # seconds is delivered after them.
    Bar("vendor-half", "kept up %", 95, least=True),
    Bar("actor-kill", "begun before, done after s", 3),
    Bar("actor-freeze", "begun before, done after s", 4),
    Bar("supervisor-kill", "gap s", 0.25),
    Bar("stack-kill", "gap s", 20),
    Bar("proxy-kill", "refusing s", 5),
    Bar("proxy-wrapper-kill", "refusing s", 5),
    Bar("storm", "availability %", 99.9, least=True),
)


def bar_of(drill: str, figure: str) -> Bar | None:
    return next((bar for bar in BARS if (bar.drill, bar.figure) == (drill, figure)), None)


def measured(drill: str, summary: Mapping[str, Mapping[str, Any]]) -> list[tuple[Bar, float]]:
    """Return each limit (bar) of a drill, and the worst value that the limited figure had in any run.

    `summary` maps each figure to its `median` and its `worst`. If `summary` lacks a figure, the limit of this figure is
    left out.
    """
    return [(bar, summary[bar.figure]["worst"]) for bar in BARS if bar.drill == drill and bar.figure in summary]
