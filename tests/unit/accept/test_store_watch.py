"""An intake replica reads the store's time and room, and reports what the store has lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs

from dispatcher.accept.intake import Headroom
from dispatcher.accept.store_watch import LINEAGE_S, StoreBreaks, StoreWatch
from dispatcher.core.life.backlog import MailboxDepth
from dispatcher.core.life.notification import Lane
from dispatcher.core.store.continuity import Break, Lineage, Mark
from dispatcher.errors import UnavailableError
from dispatcher.store_clock import StoreTime
from dispatcher.telemetry.metrics import Metrics
from tests.virtual import VirtualClock, virtual


class Store:
    """A fake store: a primary whose clock is a minute ahead of this host's clock, or the replica that took its
    place.
    """

    def __init__(self) -> None:
        self.says: Lineage | None = Lineage("a", 1000, replicas=1)
        self.has: Mark | None = None
        self.asked = 0
        self.away = False
        self.faults: tuple[str, ...] = ()

    async def lineage(self) -> Lineage | None:
        self.asked += 1
        if self.away:
            raise UnavailableError("redis: away")
        return self.says

    async def ledger(self) -> Mark | None:
        if self.away:
            raise UnavailableError("redis: away")
        return self.has

    async def now_ms(self) -> int:
        return VirtualClock().wall_ms() + 60_000

    async def memory(self) -> tuple[int, int]:
        return 1, 100

    async def log_faults(self) -> tuple[str, ...]:
        return self.faults

    async def depths(self) -> dict[str, MailboxDepth]:
        return {"a": MailboxDepth("a", queued={"high": 5, "normal": 0, "bulk": 400_000})}

    async def backlog(self, depths: Any) -> dict[str, Any]:
        return {}

    async def weigh(self, weights: Any) -> None:
        self.weights = weights

    async def waiting(self, lane: Lane) -> dict[str, int]:
        return {"loud": 399_990, "quiet": 5} if lane.priority == "bulk" else {}


class Watched:
    """A StoreWatch whose intake and clock are fakes. `given` counts how often the file's templates were stored
    again.
    """

    def __init__(self, store: Any) -> None:
        clock = VirtualClock()
        self.metrics = Metrics()
        self.given = 0
        self.intake: Any = SimpleNamespace(time=StoreTime(clock), headroom=Headroom())
        self.breaks = StoreBreaks(self.metrics, clock, self._give)
        self.watch = StoreWatch(store, store, self.intake, self.breaks, clock=clock, queued_max=300_000, weights={})

    def _give(self) -> None:
        self.given += 1


@virtual
async def test_a_replica_knows_the_stores_clock_and_what_is_full() -> None:
    """Within half a second a replica has read the store's clock, memory and full lanes, and calls itself ready.

    A tenant that filled the bulk lane is refused there, and other tenants and lanes are not.
    """
    it, clock = Watched(Store()), VirtualClock()
    assert not it.watch.answers
    watching = asyncio.ensure_future(it.watch.run())
    await asyncio.sleep(0.5)
    assert it.watch.answers
    assert it.intake.headroom.full == {Lane("a", "bulk")}
    assert it.intake.headroom.memory_ratio == 0.01
    refuses = it.intake.headroom.refuses
    assert refuses(Lane("a", "bulk"), "loud")
    assert not any(refuses(Lane("a", "bulk"), tenant) for tenant in ("quiet", "new"))
    assert not refuses(Lane("a", "high"), "loud")
    assert abs(it.intake.time.now_ms() - clock.wall_ms() - 60_000) <= 1
    watching.cancel()


@virtual
async def test_a_store_that_is_silent_for_three_seconds_is_away() -> None:
    """A replica is not ready after its store was silent for three seconds.

    The replica is ready again within about a second after the store answers.
    """
    store = Store()
    it = Watched(store)
    watching = asyncio.ensure_future(it.watch.run())
    await asyncio.sleep(0.5)
    store.away = True
    await asyncio.sleep(2.0)
    assert it.watch.answers
    await asyncio.sleep(2.0)
    assert not it.watch.answers
    store.away = False
    await asyncio.sleep(1.1)
    assert it.watch.answers
    watching.cancel()


@virtual
async def test_a_store_that_went_back_is_told_once() -> None:
    """If the store went back to an older copy, one log event and one warning say so, and the file's templates are
    stored again.
    """
    store = Store()
    store.has = Mark("x", 2)
    it = Watched(store)
    with capture_logs() as logs:
        watching = asyncio.ensure_future(it.watch.run())
        await asyncio.sleep(1.5)
        store.has = Mark("x", 1)
        await asyncio.sleep(5.0)
    watching.cancel()
    assert [(log["event"], log["kind"], log["known"]) for log in logs] == [("store_broke", "went_back", 2)]
    assert it.breaks.warnings[0].endswith("went back by 1 accepted triggers; what was accepted since its copy is lost")
    assert it.given == 1


@virtual
async def test_the_last_five_breaks_are_shown() -> None:
    """Only the last five breaks of the store are kept as warnings, so that many breaks do not fill the memory."""
    it = Watched(Store())
    for n in range(8):
        it.breaks.tell(Break("went_back", Mark("x", n + 1), Mark("x", 0)))
    assert [warning.split()[6] for warning in it.breaks.warnings] == ["4", "5", "6", "7", "8"]


@virtual
async def test_a_replica_tells_of_writes_that_a_fail_over_lost() -> None:
    """After a fail-over the new primary lacks writes. The loss is reported once, in the log, the metric and the
    warnings.

    Meanwhile the store did not answer for some time, and then named no primary. The loss is found nevertheless.
    """
    store = Store()
    it = Watched(store)
    with capture_logs() as logs:
        watching = asyncio.ensure_future(it.watch.follow_lineage())
        await asyncio.sleep(1.0)
        store.away = True
        await asyncio.sleep(5.0)
        store.away, store.says = False, None
        await asyncio.sleep(5.0)
        store.says = Lineage("b", 40, 0, "a", 900)
        await asyncio.sleep(5.0)
    assert not watching.done()
    watching.cancel()
    assert [(log["event"], log["kind"], log["known"]) for log in logs] == [("store_broke", "lost_writes", 1000)]
    assert it.breaks.warnings[0].endswith(
        ": the store lost the last 100 bytes that it wrote; what was settled in them may be sent again"
    )
    assert it.metrics.snapshot()["c"] == [["dispatcher_store_breaks", ("lost_writes",), 1]]


@virtual
async def test_a_store_with_replicas_is_asked_often() -> None:
    """The lineage of a store says which primary it followed and how far. With replicas it is read every `LINEAGE_S`.

    A fail-over hides the loss of what was written after the last reading. A store without replicas is read about once a
    second.
    """
    store = Store()
    watching = asyncio.ensure_future(Watched(store).watch.follow_lineage())
    await asyncio.sleep(10.0)
    assert store.asked >= 10.0 / LINEAGE_S - 1
    store.asked, store.says = 0, Lineage("a", 1000)
    await asyncio.sleep(10.0)
    assert store.asked <= 12
    watching.cancel()
