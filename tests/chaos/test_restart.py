"""`up` is killed and started again on the same state directory, and a second `up` is started beside a running one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from cluster.local.ray_core import CORE_OF_RAY, core_of
from cluster.local.service import Service
from cluster.local.state_directory import processes_of
from cluster.rehearsal.drills.play import DRAIN_S, fresh_checkouts, is_held, judged
from cluster.rehearsal.load import Posted, post_steadily
from cluster.rehearsal.verdict import Verdict
from tests.chaos.policies import policies

pytestmark = pytest.mark.chaos

ACCEPTED_MIN = 100
"""With fewer acknowledged triggers, a kill would show little."""

IN_FLIGHT = 60
"""50/s on each of two vendors × (a call of up to 0.45 s + the settle interval of 0.1 s), rounded up."""


@policies
def test_everything_killed_at_once_then_up_again_drains(service: Service, policy: str) -> None:
    """Every process is killed while work is queued. The next `up` delivers the queued messages.

    Only messages whose call was open at the kill are repeated (under `resend`) or held (under `hold`).
    """
    service.fault("sms-a", mode="slow", latency_ms=400)  # so that much is in flight at the kill
    try:
        verdict = _killed_in_the_middle(service, service.kill_everything, policy)
    finally:
        service.fault("sms-a", mode="none")
    assert verdict.accepted >= ACCEPTED_MIN
    held = [name for name in verdict.lost if policy == "hold" and is_held(service, name)]
    assert verdict.lost == held
    assert len(held) <= IN_FLIGHT
    assert verdict.repeats <= (IN_FLIGHT if policy == "resend" else 0)


def test_up_alone_killed_then_up_again_drains(service: Service) -> None:
    """Only `up` is killed.

    The next `up` ends the remaining processes, adopts the running Redis and delivers everything.
    """
    verdict = _killed_in_the_middle(service, service.kill)
    assert verdict.accepted >= ACCEPTED_MIN
    assert verdict.lost == []
    assert verdict.repeats <= IN_FLIGHT
    assert "redis: adopted" in service.log.read_text()


@pytest.mark.long
@pytest.mark.parametrize("name", CORE_OF_RAY)
def test_up_ends_with_the_core_of_ray_and_the_next_up_drains(service: Service, name: str) -> None:
    """The raylet or the GCS is killed, so that no process that dies is started again.

    `up` ends with code 1 and a sentence that names the cause. It leaves no process of Ray, and the next `up` delivers
    what was accepted.
    """

    def kill() -> None:
        os.kill(core_of(service.state.marker)[name], signal.SIGKILL)
        assert service.wait(60.0) == 1
        assert not processes_of(service.state.marker)

    verdict = _killed_in_the_middle(service, kill)
    assert f"Ray's {name} ended" in service.log.read_text()
    assert verdict.accepted >= ACCEPTED_MIN
    assert verdict.lost == []
    assert verdict.repeats <= IN_FLIGHT


def test_a_second_up_is_refused_by_name(service: Service) -> None:
    """A second `up` on a used state directory exits with 2 and says "already running". The first one continues."""
    words = [sys.executable, "-m", "cluster.cli.main", "up", "--sandbox", "--state-dir", str(service.state.path)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "already running" in result.stderr
    assert service.get("/readyz")["status"] == "ready"


def _killed_in_the_middle(service: Service, kill: Callable[[], None], policy: str = "resend") -> Verdict:
    """Post triggers for 3 s, and on until `ACCEPTED_MIN` are acknowledged. Then call `kill`.

    Start the service again and wait until everything has been delivered. Return the verdict about the triggers that
    were acknowledged.
    """
    posted: list[Posted] = []

    async def run() -> None:
        enough = asyncio.Event()

        def note(one: Posted) -> None:
            posted.append(one)
            if sum(one.accepted_s is not None for one in posted) >= ACCEPTED_MIN:
                enough.set()

        task = asyncio.ensure_future(post_steadily(service.api, fresh_checkouts(200, on_unknown=policy), 50, note))
        await asyncio.sleep(3.0)
        await asyncio.wait_for(enough.wait(), 30.0)  # a busy machine answers later
        await asyncio.to_thread(kill)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    service.start()
    return judged(service, posted, DRAIN_S if policy == "resend" else DRAIN_S / 3)
