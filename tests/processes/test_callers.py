"""Tests `benchmarks.callers`, which post to several hosts."""

from __future__ import annotations

import http.server
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.callers import Callers
from benchmarks.patience import Patience
from cluster.local.state_directory import free_port


class Host(http.server.ThreadingHTTPServer):
    """One host. It answers each POST with `status`, and counts each idempotency key in `seen`."""

    request_queue_size = 128

    def __init__(self, status: int, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Answers)
        self.status, self.ready, self.seen = status, 200, Counter[str]()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(http.server.BaseHTTPRequestHandler):
    """Handles the requests to a host."""

    server: Host
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen[self.headers["Idempotency-Key"]] += 1
        body = b'{"id": "0-x"}'
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(self.server.ready if self.path == "/readyz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    found = [Host(202), Host(202)]
    yield found
    for host in found:
        host.shutdown()
        host.server_close()


def body_of(n: int) -> tuple[str, dict[str, Any]]:
    return f"N{n:06}", {"event": "e", "recipient": {"id": "c1"}}


def until(callers: Callers, count: int) -> None:
    end_s = time.monotonic() + 30.0
    while sum(p.accepted_s is not None for p in list(callers.posted)) < count:
        assert time.monotonic() < end_s, "nothing more is accepted"
        time.sleep(0.01)


@pytest.mark.parametrize("status", [503, 429])
def test_what_one_host_refuses_goes_to_the_next_and_stays_there(hosts: list[Host], status: int) -> None:
    """A host begins to refuse. Each refused trigger is repeated at the other host, and later triggers go only there."""
    first, second = hosts
    with Callers([first.url, second.url], 200.0, body_of) as callers:
        until(callers, 20)
        assert not second.seen
        first.status = status
        until(callers, len(callers.posted) + 20)
        first.status = 202
        seen = sum(first.seen.values())
        until(callers, len(callers.posted) + 20)
        assert sum(first.seen.values()) == seen, "they do not come back by themselves"
    failed = [p for p in callers.posted if p.first_status == status]
    assert failed
    assert all(p.accepted_s is not None and p.trigger_id == "0-x" for p in callers.posted)
    assert all(first.seen[p.key] == second.seen[p.key] == 1 for p in failed)


def test_a_final_no_is_not_repeated(hosts: list[Host]) -> None:
    """A trigger that is answered 404 is not repeated, and counts as never accepted."""
    hosts[0].status = 404
    with Callers([host.url for host in hosts], 200.0, body_of) as callers:
        while len(callers.posted) < 5:
            time.sleep(0.01)
    assert not hosts[1].seen
    assert {(p.status, p.tries, p.accepted_s) for p in callers.posted} == {(404, 1, None)}


def test_callers_that_are_moved_know_one_host_at_a_time(hosts: list[Host]) -> None:
    """With `roam=False`, a client repeats a refused trigger only at the host that it was given.

    When the client is moved to another host, it also sends the triggers that still wait to the new host.
    """
    first, second = hosts
    first.status = 503
    with Callers([first.url, second.url], 100.0, body_of, roam=False) as callers:
        while sum(first.seen.values()) < 20:
            time.sleep(0.01)
        assert not second.seen
        callers.host = 1
        until(callers, 10)
    assert all(p.accepted_s is not None for p in callers.posted)


def test_a_balancer_leaves_a_host_that_is_not_ready_before_it_refuses(hosts: list[Host]) -> None:
    """With `watch_s`, the callers leave a host when its /readyz fails, and no trigger is refused. They do not go back.

    While no host is ready, they stay where they are.
    """
    first, second = hosts
    with Callers([first.url, second.url], 200.0, body_of, roam=False, watch_s=0.02) as callers:
        until(callers, 10)
        assert not second.seen
        first.ready = 503
        end_s = time.monotonic() + 30.0
        while callers.host == 0 or any(p.accepted_s is None for p in callers.posted[: callers.aimed.count(0)]):
            assert time.monotonic() < end_s, "nobody leaves"
            time.sleep(0.01)
        first.status = 503
        until(callers, len(callers.posted) + 10)
        second.ready = 503
        until(callers, len(callers.posted) + 30)
    assert {p.first_status for p in callers.posted} == {202}
    assert sorted(callers.aimed) == callers.aimed, "they do not go back"
    assert set(callers.aimed) == {0, 1}


def test_patient_callers_wait_for_a_service_that_comes_later() -> None:
    """Callers that come all at once while nothing listens are accepted once something does, each with its first key."""
    port = free_port()
    with Callers(
        [f"http://127.0.0.1:{port}"], 1.0, body_of, roam=False, patience=Patience(random.Random(1))
    ) as callers:
        callers.come([body_of(n) for n in range(1000, 1040)])
        end_s = time.monotonic() + 30.0
        while sum(p.tries > 1 for p in list(callers.posted)) < 40:
            assert time.monotonic() < end_s, "nobody tries again"
            time.sleep(0.01)
        assert callers.waiting >= 40
        host = Host(202, port)
        until(callers, 40)
    host.shutdown()
    host.server_close()
    assert callers.waiting == 0
    assert all(p.accepted_s is not None and p.first_status == 0 for p in callers.posted if p.key >= "N001000")
    assert set(host.seen.values()) == {1}
