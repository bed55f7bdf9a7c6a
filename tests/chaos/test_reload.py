"""A secret is changed under load by SIGHUP, and then wrong files are given to the running service (docs/faults.md).

Steady state: 30 triggers/s, an SMS and an e-mail each. Nothing may be lost, repeated or refused while a secret changes.
A wrong file changes nothing. This holds if the check refuses the file, and also if the check passes and only a replica
fails to start with the file.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.local.service import Service
from cluster.rehearsal.drills.play import fresh_checkouts, judged
from cluster.rehearsal.load import Posted, post_steadily
from tests.chaos.running import wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.long]

RATE, STEADY_S, SECONDS_MAX = 30, 2.0, 150
CHANGED = "sms-b"


@pytest.fixture
def own() -> Iterator[Service]:
    """Yield an installation whose configuration and secret may be changed. The secret's file ends with a line end."""
    folder = Path(tempfile.mkdtemp(prefix="ndu-"))
    found = Service(folder / "state", folder / "config.yaml")
    secret(found).write_text("first\n")
    write(found)
    try:
        found.start()
        yield found
        found.stop()
    finally:
        found.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_secret_is_changed_under_load_and_no_wrong_file_stops_the_service(own: Service) -> None:
    """A vendor's secret is changed under load, and `up` gets SIGHUP. Every actor of this vendor is replaced, and no
    other actor is.

    Then `up` gets wrong configuration files, one after another. The service keeps its configuration each time.
    """
    wait_for(lambda: len(incarnations(own, CHANGED)) == 1, 30)
    before, others = incarnations(own, CHANGED), incarnations(own)

    def change() -> None:
        time.sleep(STEADY_S)
        secret(own).write_text("second\n")
        own.reload()
        wait_for(lambda: len(now := incarnations(own, CHANGED)) == 1 and not now & before, 60)
        after = incarnations(own, CHANGED)
        for text, says in wrong_files(own):
            written = len(own.log.read_text())
            own.config.write_text(text) if text else own.config.unlink()
            own.reload()
            wait_for(lambda says=says, written=written: says in own.log.read_text()[written:], 60)  # type: ignore[misc]
            told = next(line for line in own.log.read_text()[written:].splitlines() if says in line)
            assert "the one before stays" in told
        assert incarnations(own, CHANGED) == after
        # The check passes here. In a replica the secret's file has another content, and the constructor fails.
        write(own, sender="file:/proc/self/comm")
        written = len(own.log.read_text())
        own.reload()
        wait_for(lambda: "the configuration before runs" in own.log.read_text()[written:], 110)
        wait_for(lambda: len(incarnations(own, CHANGED)) == 1, 30)

    posted = asyncio.run(load(own, change))
    wait_for(lambda: all(v["queued"] == 0 for v in own.get("/v1/vendors")["vendors"]), 60)
    verdict = judged(own, posted)
    assert [p.key for p in posted if p.first_status != 202] == []
    assert (verdict.lost, verdict.duplicated, verdict.unexpected) == ([], {}, [])
    assert incarnations(own) == others
    assert "Traceback" not in own.log.read_text()


def wrong_files(service: Service) -> list[tuple[str, str]]:
    """Return pairs: a wrong configuration file, and words of the sentence with which the service refuses it.

    An empty text stands for a missing file.
    """
    return [
        (written(service, sendr="Shop"), "vendors.sms-b.options.sendr: is not an option"),
        (written(service, api_secret="${NEW_KEY}"), "the environment variable NEW_KEY is not set"),
        (written(service, base_url="http://x:port"), "vendors.sms-b.options.base_url: must be a URL"),
        ("vendors: [", "line 1"),
        ("", "cannot be read"),
    ]


async def load(service: Service, change: Any) -> list[Posted]:
    """Post `RATE` triggers a second until `change` has returned. Return what was posted."""
    changing = asyncio.ensure_future(asyncio.to_thread(change))
    bodies, posted = fresh_checkouts(RATE * SECONDS_MAX), list[Posted]()
    while not changing.done() and len(posted) < len(bodies):
        posted += await post_steadily(service.api, bodies[len(posted) : len(posted) + RATE], RATE)
    await changing
    return posted


def secret(service: Service) -> Path:
    return service.config.parent / "secret"


def written(service: Service, **options: str) -> str:
    found = yaml.safe_load((resources.files("cluster") / "sandbox.yaml").read_text())
    found["vendors"][CHANGED]["options"] |= {"api_secret": f"file:{secret(service)}", **options}
    return yaml.safe_dump(found)


def write(service: Service, **options: str) -> None:
    service.config.write_text(written(service, **options))


def incarnations(service: Service, *names: str) -> set[str]:
    """Return the incarnations of the actors of the vendors in `names`.

    If no name is given, every vendor counts except `CHANGED`, the vendor that the test changes.
    """
    return {
        breaker["incarnation"]
        for vendor in service.get("/v1/vendors")["vendors"]
        for breaker in vendor["breaker"]
        if vendor["name"] in (names or {vendor["name"]} - {CHANGED})
    }
