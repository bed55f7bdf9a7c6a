"""A vendor that fails and recovers again and again does not switch new work to and fro."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from dispatcher.core.life.outcome import Outcome
from dispatcher.core.plan.decide import Survey, decide
from dispatcher.core.plan.values import Override, Plan, PlanConfig, Report, VendorConfig
from tests.unit.vendor_actors import Outage
from tests.virtual import virtual

MINUTE = 60_000
CONFIG = PlanConfig({name: VendorConfig(name, "sms") for name in "abc"}, (("a", "b"), ("c",)), dwell_ms=MINUTE)


class History:
    """A sequence of plans, decided from what the breakers of vendors a, b and c say."""

    def __init__(self, config: PlanConfig = CONFIG) -> None:
        self.config, self.plan, self.at_s = config, Plan(), 1000.0

    def say(self, at_s: float, overrides: Mapping[str, Override] | None = None, **states: str) -> set[str]:
        """Decide the plan at `at_s` seconds from the beginning, and return the vendors that get new work under it."""
        reports = [Report(f"{name}/1", name, states.get(name, "closed")) for name in "abc"]
        now_ms = int((self.at_s + at_s) * 1000)
        self.plan = decide(Survey(reports, overrides=overrides or {}), self.config, self.plan, now_ms)
        return {name for name in "abc" if self.plan.accepts_new(name)}


def flapped() -> History:
    """Return a history of plans in which vendor a is lost at 0 s, comes back at 10 s and is lost again at 20 s."""
    history = History()
    assert history.say(-600) == {"a", "b", "c"}
    assert history.say(0, a="open") == {"b", "c"}
    assert history.say(10) == {"a", "b", "c"}, "the first time its recovery is believed"
    assert history.say(20, a="open") == {"b", "c"}, "a loss knows no delay"
    return history


def test_who_loses_new_work_soon_after_its_return_gets_it_back_later() -> None:
    """A vendor got new work back and soon afterwards lost it again. It gets new work only 60 s after this second loss.

    Until then the vendor still drains its mailbox and is usable as a fallback.
    """
    history = flapped()
    assert history.say(30) == {"b", "c"}
    assert (history.plan.usable("a"), history.plan.vendors["a"].drains) == (True, ("a",))
    assert history.say(79.9) == {"b", "c"}
    assert history.say(80) == {"a", "b", "c"}
    assert history.plan.reason == "a gets new work"


def test_who_was_well_for_ten_minutes_is_believed_again() -> None:
    """An unsteady vendor got new work back and then worked for ten minutes, so it counts as steady.

    If it loses new work again, it gets it back as soon as it recovers.
    """
    history = flapped()
    history.say(80)
    assert history.say(80 + 601, a="open") == {"b", "c"}
    assert history.say(80 + 602) == {"a", "b", "c"}


def test_nobody_waits_when_nobody_else_takes_the_work() -> None:
    """A vendor gets new work at once if its only fallback is lost, or if it has no fallback."""
    history = flapped()
    assert history.say(30, b="open") == {"a", "c"}
    history = History()
    for at_s, c in ((0, "closed"), (1, "open"), (2, "closed"), (3, "open")):
        history.say(at_s, c=c)
    assert history.say(4) == {"a", "b", "c"}


def test_of_two_that_come_and_go_the_first_takes_the_work() -> None:
    """If both vendors of a chain fail and recover together, the first vendor gets the new work."""
    history = History()
    for at_s, state in ((0, "closed"), (1, "open"), (2, "closed"), (3, "open")):
        history.say(at_s, a=state, b=state)
    assert history.say(4) == {"a", "c"}


def test_an_operator_waits_for_nothing() -> None:
    """An operator's `close` gives a vendor new work at once.

    Switches by an operator's override do not make a vendor count as unsteady.
    """
    history = flapped()
    assert history.say(30, {"a": Override("a", "close")}) == {"a", "b", "c"}
    history = History()
    word = {"a": Override("a", "open")}
    for at_s in (0, 2, 4):
        assert history.say(at_s) == {"a", "b", "c"}
        assert history.say(at_s + 1, word) == {"b", "c"}
    history.say(6)
    assert history.say(7, a="open") == {"b", "c"}
    assert history.say(8) == {"a", "b", "c"}


def test_a_wait_survives_the_supervisor_and_a_clock_set_back() -> None:
    """An unsteady vendor waits for new work. The wait is written in the plan, so a new supervisor continues it.

    If the clock was set back, so that the wait seems to begin in the future, the wait does not count. With `dwell_ms`
    0, no vendor waits.
    """
    history = flapped()
    history.plan = Plan.from_dict(history.plan.to_dict())
    assert history.say(30) == {"b", "c"}
    assert history.say(-500) == {"a", "b", "c"}
    without = History(PlanConfig(CONFIG.vendors, CONFIG.chains, dwell_ms=0))
    for at_s, state in ((0, "closed"), (1, "open"), (2, "closed"), (3, "open")):
        without.say(at_s, a=state)
    assert without.say(4) == {"a", "b", "c"}


@pytest.mark.parametrize(("well_s", "ill_s"), [(2, 2), (10, 2), (15, 1), (20, 2), (45, 2)])
@virtual
async def test_a_flapping_vendor_is_switched_twice_a_minute_at_most(well_s: float, ill_s: float) -> None:
    """New work of a flapping vendor is switched at most three times in the first minute and twice in each later
    minute.
    """
    outage = Outage()
    outage.a.then = None
    await outage.begin()
    switched_s: list[float] = []
    loop, takes = asyncio.get_running_loop(), True

    async def flap() -> None:
        while True:
            outage.a.then = None
            await asyncio.sleep(well_s)
            outage.a.then = Outcome.failed("http_503")
            await asyncio.sleep(ill_s)

    outage.stage.start(flap())
    for _ in range(180 * 10):
        if takes != outage.supervisor.plan.accepts_new("a"):
            takes = not takes
            switched_s.append(loop.time())
        await outage.stage.accept(1, vendor="a" if takes else "b")
        await asyncio.sleep(0.1)
    assert switched_s, "it never failed"
    most = {at: sum(at <= other < at + 60 for other in switched_s) for at in switched_s}
    assert most.pop(switched_s[0]) <= 3
    assert all(n <= 2 for n in most.values()), most
