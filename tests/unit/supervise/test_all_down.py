"""Checks that a vendor that works again gets messages within 30 seconds, after all vendors of its chain were down
for long.
"""

from __future__ import annotations

import asyncio

import pytest

from dispatcher.core.life.outcome import Outcome, OutcomeKind, Scope
from tests.unit.vendor_actors import Outage
from tests.virtual import until, virtual

DOWN = {
    "failing": Outcome.failed("http_503"),
    "refusing our account": Outcome(OutcomeKind.FAILED, "auth", scope=Scope.ACCOUNT, retry_after_s=1800.0),
    "hanging up": Outcome.failed("connect", local_origin=True),
}


@virtual
@pytest.mark.parametrize("messages", [1, 60])
@pytest.mark.parametrize("down", DOWN)
async def test_a_mended_vendor_has_work_soon(down: str, messages: int) -> None:
    """Both vendors fail and get only probes, and their breakers wait for minutes.

    When one vendor works again, it delivers a message within 30 seconds all the same.
    """
    outage = Outage(open_wait_s=150.0)
    outage.a.then = outage.b.then = DOWN[down]
    await outage.begin()
    await outage.stage.accept(messages, expires_ms=outage.stage.clock.wall_ms() + 86_400_000)
    await asyncio.sleep(330.0)  # 150 s doubled once is the breaker's longest wait
    assert set(outage.stage.states()) & {"settled", "dead"} == set()
    calls, plans = len(outage.a.sent) + len(outage.b.sent), outage.supervisor.plan.epoch
    await asyncio.sleep(60.0)
    assert len(outage.a.sent) + len(outage.b.sent) - calls <= 2 * 5 * 60 / 10, "a sick vendor gets its probes alone"
    assert outage.supervisor.plan.epoch - plans <= 60
    outage.b.then = None
    mended_s, sent = outage.stage.clock.now_s(), len(outage.b.sent)
    await until(lambda: len(outage.b.sent) > sent and "settled" in outage.stage.states(), 60.0)
    assert outage.stage.clock.now_s() - mended_s <= 30.0


@virtual
async def test_nobody_hurries_while_another_vendor_works() -> None:
    """While the other vendor works, a failing vendor gets at most 15 calls in two minutes, because its breaker's
    wait grows as usual.
    """
    outage = Outage()
    await outage.begin()
    await outage.post(120.0)
    calls = len(outage.a.sent)
    await outage.post(120.0)
    assert len(outage.a.sent) - calls <= 15
