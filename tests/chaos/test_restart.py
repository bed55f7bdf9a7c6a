"""Whole lives of the program: killed and started again on the same state directory, and a second one beside it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cluster.demo import drained
from cluster.service import Service
from tests.chaos.running import under_load

pytestmark = pytest.mark.chaos


def test_everything_killed_at_once_then_up_again_drains(own_service: Service) -> None:
    """Every process dies with work queued: `up` again delivers all of it; repeats only from what was in flight."""
    service = own_service
    service.fault("sms-a", mode="slow", latency_ms=400)  # so that something is in flight and queued
    before = under_load(service, lambda: None, seconds=3)
    assert before.verdict.lost == []
    run = _killed_in_the_middle(service, service.kill_everything)
    assert run == []


def test_up_alone_killed_then_up_again_drains(own_service: Service) -> None:
    """Only `up` dies: the next one ends what was left, adopts the running Redis and delivers everything."""
    run = _killed_in_the_middle(own_service, own_service.kill)
    assert run == []
    assert "redis: adopted" in own_service.log.read_text()


def test_a_second_up_is_refused_by_name(service: Service) -> None:
    """`up` on a directory that is in use says which process has it and changes nothing."""
    words = [sys.executable, "-m", "cluster.cli", "up", "--sandbox", "--state-dir", str(service.state.path)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "already running" in result.stderr
    assert service.get("/readyz")["status"] == "ready"


def _killed_in_the_middle(service: Service, kill: object) -> list[str]:
    """Post for 3 s, kill, start again; the acknowledged notifications that no vendor ever received."""
    import asyncio
    from collections.abc import Callable
    from typing import cast

    from cluster.load import Posted, post_steadily
    from cluster.people import checkouts

    posted: list[Posted] = []

    async def run() -> None:
        bodies = checkouts(200, start=500_000)
        task = asyncio.ensure_future(post_steadily(service.api, bodies, 50, posted.append))
        await asyncio.sleep(3.0)
        witnessed.update({v: service.received(v)["received"] for v in ("sms-a", "sms-b", "email-a", "email-b")})
        await asyncio.to_thread(cast(Callable[[], None], kill))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    witnessed: dict[str, list[dict[str, object]]] = {}
    asyncio.run(run())
    service.start()
    verdict = drained(service, posted)
    seen_before = {d["text"] for deliveries in witnessed.values() for d in deliveries}
    return [name for name in verdict.lost if not any(name.split("/")[0] in str(text) for text in seen_before)]
