"""An intake replica asks whose writes the store has, and tells of those that are lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from structlog.testing import capture_logs

from actors.intake import LINEAGE_S, IntakeActor
from dispatcher.core.plan.values import Plan
from dispatcher.core.store.continuity import Lineage
from dispatcher.errors import UnavailableError
from tests.virtual import virtual


class Store:
    """A primary, or the replica that took its place."""

    def __init__(self) -> None:
        self.says: Lineage | None = Lineage("a", 1000, replicas=1)
        self.asked = 0
        self.away = False

    async def lineage(self) -> Lineage | None:
        self.asked += 1
        if self.away:
            raise UnavailableError("redis: away")
        return self.says


def replica(store: Store) -> IntakeActor:
    actor = IntakeActor({}, {}, {})
    actor.control = store  # type: ignore[assignment]
    actor.intake = SimpleNamespace(plan=Plan())  # type: ignore[assignment]
    return actor


@virtual
async def test_a_replica_tells_of_writes_that_a_fail_over_lost() -> None:
    """Once: in the log, in the metric and in /healthz; whoever answers nothing meanwhile, or is no primary."""
    store = Store()
    actor = replica(store)
    with capture_logs() as logs:
        watching = asyncio.ensure_future(actor._watch_lineage())
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
    warning = actor.health()["warnings"][0]
    assert warning.endswith(
        ": the store lost the last 100 bytes that it wrote; what was settled in them may be sent again"
    )
    assert actor.metrics.snapshot()["c"] == [["dispatcher_store_breaks", ("lost_writes",), 1]]


@virtual
async def test_a_store_with_replicas_is_asked_often() -> None:
    """What it wrote since is what a fail-over loses unnoticed; one without any is asked each second."""
    store = Store()
    watching = asyncio.ensure_future(replica(store)._watch_lineage())
    await asyncio.sleep(10.0)
    assert store.asked >= 10.0 / LINEAGE_S - 1
    store.asked, store.says = 0, Lineage("a", 1000)
    await asyncio.sleep(10.0)
    assert store.asked <= 12
    watching.cancel()
