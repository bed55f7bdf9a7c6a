"""Tests `dispatcher dead redrive --all` and `discard --all` against an HTTP server with 2,500 dead letters."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cluster.cli import bulk
from cluster.cli.main import main


class Stub:
    """Answers like the service with dead letters 0 to 2,499. A cursor is the number of the next letter.

    Each hundredth letter cannot be redriven. `fails` holds the numbers of the calls, from 0, that are answered 503.
    """

    def __init__(self) -> None:
        self.dead = set(range(2500))
        self.orders: list[dict[str, Any]] = []
        self.fails: set[int] = set()
        self.per_call = 1000
        self.wait_s = 0.0

    def answer(self, verb: str, order: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.orders.append({"verb": verb, **order})
        if len(self.orders) - 1 in self.fails:
            return 503, {"title": "Try again", "detail": "the store is away"}
        first = int(order["cursor"] or 0)
        numbers = range(first, min(2500, first + min(order["limit"], self.per_call)))
        chosen = self.dead & {n for n in numbers if n % 100}  # each hundredth has no vendor
        refused = {"a is open": len(numbers) - len([n for n in numbers if n % 100])}
        if not order["dry_run"]:
            self.dead -= chosen
        cursor = str(numbers.stop) if numbers.stop < 2500 else None
        counts = {"count": len(chosen), "matched": len(numbers), "refused": refused}
        return 200, {**counts, "cursor": cursor, "wait_s": self.wait_s}


@pytest.fixture
def stub() -> Iterator[Stub]:
    found = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = found.answer(self.path.rpartition("/")[2], {"dry_run": False, **order})
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def run(stub: Stub, *words: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["dead", *words, "--url", stub.url], input=answer)  # type: ignore[attr-defined]


def test_all_of_it_after_a_yes(stub: Stub) -> None:
    """The user answers "y". First three calls with `dry_run` count the letters, and then three calls redrive them.

    Every call has the filter. Letters that cannot be redriven stay.
    """
    result = run(stub, "redrive", "--all", "--vendor", "a", answer="y\n")
    assert result.exit_code == 0, result.output
    assert "2475 to redrive\n  25 stay: a is open" in result.output
    assert "redrive: 2475 done" in result.output
    assert stub.dead == {n for n in range(2500) if n % 100 == 0}
    assert [(o["verb"], o["dry_run"], o["vendor"]) for o in stub.orders] == [
        ("redrive", dry_run, "a") for dry_run in [True] * 3 + [False] * 3
    ]


def test_a_no_changes_nothing(stub: Stub) -> None:
    """After an "n" no letter is changed, and the exit code is 1."""
    result = run(stub, "discard", "--all", answer="n\n")
    assert result.exit_code == 1
    assert len(stub.dead) == 2500


@pytest.mark.parametrize("words", [("--dry-run",), ("--dry-run", "--yes")])
def test_a_dry_run_only_counts(stub: Stub, words: tuple[str, ...]) -> None:
    """With `--dry-run` the letters are counted and none is changed, without a question."""
    result = run(stub, "redrive", "--all", *words)
    assert (result.exit_code, len(stub.dead)) == (0, 2500)
    assert "2475 to redrive" in result.output


def test_an_interrupted_change_goes_on(stub: Stub) -> None:
    """A call fails, and the error names a cursor. The command with this cursor redrives the rest, and no letter
    twice.
    """
    stub.fails = {4}
    result = run(stub, "redrive", "--all", "--yes")
    assert result.exit_code == 1
    assert "--all --cursor 1000" in result.output
    assert len(stub.dead) == 2500 - 990
    result = run(stub, "redrive", "--all", "--yes", "--cursor", "1000")
    assert "redrive: 1485 done" in result.output
    assert stub.dead == {n for n in range(2500) if n % 100 == 0}


def test_the_pace_is_kept_and_shown(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between calls that redrive, the command waits as the answer says, but not while it counts.

    Without a terminal the progress is shown as plain lines.
    """
    waits: list[float] = []
    monkeypatch.setattr(bulk.time, "sleep", waits.append)
    monkeypatch.setattr(bulk, "LINE_S", 0.0)
    stub.wait_s, stub.per_call = 0.7, 500
    result = run(stub, "redrive", "--all", "--yes")
    assert waits == [0.7] * 4
    assert "redrive: 990 of 2475 paced" in result.output
    assert "\x1b" not in result.output


def test_a_terminal_gets_a_bar(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the progress is shown as a bar that ends at 2475 of 2475."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    result = run(stub, "redrive", "--all", "--yes")
    assert "2475/2475" in result.output


def test_what_of_today_is_wanted_is_in_each_call(stub: Stub) -> None:
    """With `--todays-route` or `--todays-template`, every call of a redrive asks for it, also a call that only counts.
    By default no call asks for them.

    A discard never sends these options.
    """
    run(stub, "redrive", "--all", "--yes", "--todays-route")
    assert {(o["todays_route"], o["todays_template"]) for o in stub.orders} == {(True, False)}
    run(stub, "redrive", "--limit", "1", "--todays-template")
    assert (stub.orders[-1]["todays_route"], stub.orders[-1]["todays_template"]) == (False, True)
    run(stub, "discard", "--limit", "1")
    assert "todays_route" not in stub.orders[-1]


def test_a_few_are_one_call(stub: Stub) -> None:
    """Without `--all`, `dispatcher dead redrive` makes one call and prints its answer."""
    result = run(stub, "redrive", "--limit", "7")
    assert json.loads(result.output)["count"] == 6
    assert len(stub.orders) == 1
