"""Schemathesis generates requests from /openapi.json. No answer is a 5xx, and each answer is described there.

The HTTP application is the real one, behind the server that Ray Serve uses, with a store in memory. The variable
`EXAMPLES` sets how many requests of each kind are generated. Requests at the bounds are always made.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import uvicorn

from cluster.local.state_directory import free_port
from dispatcher.adapters.api_keys import SCOPES, new_key
from tests.unit.serve_app.http_application import Edge

pytestmark = pytest.mark.peers

EXAMPLES = int(os.environ.get("EXAMPLES", "10"))
RUN_S_MAX = 500
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)


@contextmanager
def served(keys: Path | None = None) -> Iterator[str]:
    """Run our HTTP application on a free port, and yield its address. With `keys`, callers need a key of that file."""
    port = free_port()
    ready, edge_loop = threading.Event(), asyncio.new_event_loop()
    server: list[uvicorn.Server] = []

    async def run() -> None:
        config = uvicorn.Config(Edge(keys).app, "127.0.0.1", port, log_level="error", lifespan="off")
        server.append(uvicorn.Server(config))
        serving = asyncio.ensure_future(server[0].serve())
        while not server[0].started and not serving.done():  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.01)
        ready.set()
        await serving

    thread = threading.Thread(target=edge_loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server[0].should_exit = True
        thread.join(30)


def judged(url: str, folder: Path, *checks: str, headers: dict[str, str] | None = None) -> str:
    """Run schemathesis on the application at `url`, assert that it finds no fault, and return its report."""
    if find_spec("schemathesis") is None:
        pytest.fail("the package schemathesis cannot be had: install the extra peers-check", pytrace=False)
    words = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--no-color"]
    words += ["-n", str(EXAMPLES), "--seed", "1", "--continue-on-failure", "--checks", ",".join((*CHECKS, *checks))]
    for name, value in (headers or {}).items():
        words += ["-H", f"{name}: {value}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=RUN_S_MAX, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_a_keyless_service_answers_as_it_says(tmp_path: Path) -> None:
    """Without keys, right and wrong requests to every route are answered as described."""
    with served() as url:
        judged(url, tmp_path)


def test_a_key_opens_what_it_is_for(tmp_path: Path) -> None:
    """With a key of every scope, all routes answer as described.

    Without a key or with a wrong one, a protected route is refused.
    """
    path = tmp_path / "api_keys.json"
    key = new_key(path, "shop", list(SCOPES))
    with served(path) as url:
        judged(url, tmp_path, "ignored_auth", headers={"Authorization": f"Bearer {key}"})


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_of_one_scope_is_told_so(tmp_path: Path, scope: str) -> None:
    """Every route is called with a key that has one scope. The description also has the answers that refuse
    this key.
    """
    path = tmp_path / "api_keys.json"
    key = new_key(path, "shop", [scope])
    with served(path) as url:
        judged(url, tmp_path, headers={"Authorization": f"Bearer {key}"})
