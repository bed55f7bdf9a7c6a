"""An installation over two Redis servers gets a third one by SIGHUP under load, and then a Redis is killed.

Steady state: 20 triggers/s with keys, an SMS and an e-mail each. No key is accepted twice, nothing is lost, and no
caller is refused while the cell is added. After the kill, the keys of the killed cell wait for it, and all others are
accepted at first try and delivered.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.local.redis_server import RedisServer
from cluster.local.service import Service
from cluster.rehearsal.drills.play import fresh_checkouts, judged
from cluster.rehearsal.load import Posted, post_steadily
from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.cells.owners import owner
from tests.chaos.running import wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.long]

RATE, STEADY_S, ADD_S_MAX, APART_S = 20, 3.0, 150, 5.0
TENANT = "default"


class Installation:
    """A `Service` with a private Redis as cell 0 and further Redis servers as cells 1 and 2."""

    def __init__(self, folder: Path) -> None:
        self.servers = [RedisServer(folder / f"redis-{n}", folder / f"s{n}") for n in (1, 2)]
        self.folder = folder
        self.service = Service(folder / "state", folder / "config.yaml")
        for n, server in enumerate(self.servers, 1):
            server.start()
            (folder / f"url-{n}").write_text(server.url)

    def configure(self, further: int) -> None:
        """Write a configuration with this number of cells beside cell 0."""
        found = yaml.safe_load((resources.files("cluster") / "sandbox.yaml").read_text())
        found["store"] = {"cells": [f"file:{self.folder}/url-{n}" for n in range(1, further + 1)]}
        self.service.config.write_text(yaml.safe_dump(found))

    def in_force(self) -> int:
        """Return the highest number of cells in force that a further cell has seen."""
        seen = [server.client().hget(Keys(str(n)).cells, "n") for n, server in enumerate(self.servers, 1)]
        return max(int(n or 1) for n in seen)

    def kill(self, cell: int) -> None:
        pid = self.servers[cell - 1].pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        self.service.clean_up()
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def two() -> Iterator[Installation]:
    found = Installation(Path(tempfile.mkdtemp(prefix="ndc-")))
    try:
        found.configure(1)
        found.service.start()
        yield found
        found.service.stop()
    finally:
        found.end()


def test_a_cell_is_added_under_load_and_another_one_is_killed(two: Installation) -> None:
    """Each cell gets its part of the keys, a repeated key gets its first answer, and one dead Redis stops no other."""
    before = asyncio.run(post(two.service, RATE * 4))
    assert refused(before) == []
    assert set(cells_of(before)) == {"0", "1"}
    assert all(cell(one) == owner(TENANT, one.key, 2) for one in before)

    during = asyncio.run(under_load(two))
    assert two.in_force() == 3
    assert refused(during) == []
    after = asyncio.run(post(two.service, RATE * 4))
    assert refused(after) == []
    assert set(cells_of(after)) == {"0", "1", "2"}
    assert all(cell(one) == owner(TENANT, one.key, 3) for one in after)
    assert judged(two.service, [*before, *during, *after]).clean

    two.kill(1)
    time.sleep(APART_S)
    apart = asyncio.run(post(two.service, RATE * 6, give_up_s=0.0))
    mine = [one for one in apart if owner(TENANT, one.key, 3) == "1"]
    others = [one for one in apart if one not in mine]
    moved = [one for one in others if owner(TENANT, one.key, 2) == "1"]  # nobody knows whether cell 1 has these keys
    assert {one.status for one in (*mine, *moved)} == {503}
    answered = [one for one in others if one not in moved]
    assert answered and refused(answered) == []
    verdict = judged(two.service, answered)
    assert (verdict.lost, verdict.duplicated, verdict.unexpected) == ([], {}, [])
    assert "Traceback" not in two.service.log.read_text()


async def under_load(two: Installation) -> list[Posted]:
    """Add a cell while triggers are posted, and repeat all of their keys until the cell is in force, and once then."""
    bodies, posted = fresh_checkouts(RATE * ADD_S_MAX), list[Posted]()

    def add() -> None:
        time.sleep(STEADY_S)
        two.configure(2)
        two.service.reload()
        wait_for(lambda: two.in_force() == 3, ADD_S_MAX - 20)

    adding = asyncio.ensure_future(asyncio.to_thread(add))
    while not adding.done() and len(posted) + RATE <= len(bodies):
        some = bodies[len(posted) : len(posted) + RATE]
        posted += await post_steadily(two.service.api, some, RATE)
        repeated = await post_steadily(two.service.api, some, RATE * 4)
        same_answers(posted[-RATE:], repeated)
    await adding
    same_answers(posted, await post_steadily(two.service.api, bodies[: len(posted)], RATE * 4))
    return posted


def same_answers(first: list[Posted], repeated: list[Posted]) -> None:
    """Each repeated key has the trigger id of its first answer, so it was not accepted again."""
    assert [one.trigger_id for one in repeated] == [one.trigger_id for one in first]


async def post(service: Service, count: int, **options: Any) -> list[Posted]:
    return await post_steadily(service.api, fresh_checkouts(count), RATE, **options)


def refused(posted: list[Posted]) -> list[tuple[str, int, Mapping[str, Any]]]:
    return [(one.key, one.first_status, one.problem) for one in posted if one.first_status != 202]


def cell(posted: Posted) -> str:
    assert posted.trigger_id is not None
    return posted.trigger_id[0]


def cells_of(posted: list[Posted]) -> Counter[str]:
    return Counter(map(cell, posted))
