"""Access control: the hosts and origins of a service without keys, the scope of each route, and wrong keys."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.routing import Route

from dispatcher.adapters.api_keys import SCOPES, new_key
from serve_app import access_control
from serve_app.access_control import scope_needed
from tests.unit.desk import body
from tests.unit.serve_app.http_application import JSON, Edge
from tests.virtual import virtual


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api_keys.json"


def bearer(key: str) -> dict[str, str]:
    return {**JSON, "authorization": f"Bearer {key}"}


# ---- without keys


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 202),
        ("LOCALHOST:8000", 202),
        ("127.0.0.1:8000", 202),
        ("[::1]:8000", 202),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.nip.io", 421),
        ("evil.example@localhost.evil", 421),
        ("evil.example@localhost", 421),
        ("localhost/evil.example", 421),
        ("localhost, evil.example", 421),
        ("192.0.2.7", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_a_keyless_service_answers_local_names_only(host: str, status: int) -> None:
    """Without keys, a request is answered only if its Host is a local name.

    So a web page whose own host name resolves to loopback can neither post nor read.
    """

    @virtual
    async def ask() -> None:
        edge = Edge()
        answer = await edge.call("POST", "/v1/triggers", body(), {**JSON, "host": host})
        assert answer.status == status
        for path in ("/healthz", "/metrics", "/docs", "/v1/triggers?idempotency_key=k"):
            assert ((await edge.call("GET", path, headers={"host": host})).status == 421) == (status == 421)

    ask()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8000", 202),
        ("https://localhost:8000", 202),
        ("http://localhost:9000", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("localhost:8000", 403),
    ],
)
def test_a_keyless_service_refuses_a_foreign_page(origin: str, status: int) -> None:
    """Without keys, a request with an Origin is answered only if the origin is the service itself, such as our
    documentation page.
    """

    @virtual
    async def ask() -> None:
        edge = Edge()
        headers = {**JSON, "host": "localhost:8000", "origin": origin}
        assert (await edge.call("POST", "/v1/triggers", body(), headers)).status == status
        assert bool(edge.desk.stage.states()) == (status == 202)

    ask()


def test_with_keys_any_host_is_answered(path: Path) -> None:
    """With keys any Host is answered, because the key proves the caller and the service may have any name."""
    key = new_key(path, "shop")

    @virtual
    async def ask() -> None:
        headers = {**bearer(key), "host": "dispatcher.example.com"}
        assert (await Edge(path).call("POST", "/v1/triggers", body(), headers)).status == 202

    ask()


# ---- other installations


@pytest.mark.parametrize(("mark", "status"), [("0123456789abcdef", 202), ("fedcba9876543210", 503), ("", 503)])
def test_what_another_installations_proxy_brings_is_refused(mark: str, status: int) -> None:
    """A request from another installation's proxy gets a 503 and is not stored.

    The port may have belonged to that installation.
    """

    @virtual
    async def ask() -> None:
        edge = Edge()
        headers = {**JSON, "host": "localhost", "x-dispatcher-installation": mark}
        assert (await edge.call("POST", "/v1/triggers", body(), headers)).status == status
        assert bool(edge.desk.stage.states()) == (status == 202)
        assert (await edge.call("GET", "/readyz", headers=headers)).status == (200 if status == 202 else 503)

    ask()


# ---- scopes

NEEDS = [
    ("POST", "/v1/triggers", "send"),
    ("POST", "/v1/triggers/batch", "send"),
    ("POST", "/v1/triggers/0-a/cancel", "send"),
    ("GET", "/v1/triggers/0-a", "read"),
    ("GET", "/v1/triggers?idempotency_key=k", "read"),
    ("HEAD", "/v1/triggers/0-a", "read"),
    ("GET", "/v1/dead-letters", "read"),
    ("GET", "/v1/notifications", "read"),
    ("POST", "/v1/dead-letters/redrive", "operate"),
    ("POST", "/v1/dead-letters/discard", "operate"),
    ("GET", "/v1/vendors", "operate"),
    ("GET", "/v1/vendors/a", "operate"),
    ("POST", "/v1/vendors/a/override", "operate"),
    ("GET", "/v1/plan", "operate"),
    ("GET", "/v1/templates", "templates"),
    ("GET", "/v1/templates/t", "templates"),
    ("PUT", "/v1/templates/t", "templates"),
    ("DELETE", "/v1/templates/t", "templates"),
    ("POST", "/v1/templates/t/preview", "templates"),
    ("GET", "/v1/no-such-route", "operate"),
    ("DELETE", "/v1/triggers/0-a", "operate"),
]


@pytest.mark.parametrize(("method", "where", "needed"), NEEDS)
def test_each_route_needs_its_scope_and_no_other(path: Path, method: str, where: str, needed: str) -> None:
    """A key with all other scopes gets a 403 that names the missing scope. A key with only this scope is let in."""
    others = new_key(path, "shop", [scope for scope in SCOPES if scope != needed])
    right = new_key(path, "shop", [needed])

    @virtual
    async def ask() -> None:
        edge = Edge(path)
        refused = await edge.call(method, where, {}, bearer(others))
        assert refused.status == 403
        assert f'scope="{needed}"' in refused.headers["www-authenticate"]
        assert (await edge.call(method, where, {}, bearer(right))).status not in (401, 403)

    ask()


@virtual
async def test_every_route_is_listed_here() -> None:
    """Every route below /v1/ is in `NEEDS`, the list of the scopes that routes need, except the route for receipts.

    A route that no rule names needs the scope `operate`.
    """
    listed = {(method, where.partition("?")[0]) for method, where, _ in NEEDS}
    served = {
        (method, one.path.format(tid="0-a", name="a", vendor="a"))
        for one in _routes()
        for method in one.methods or ()
        if one.path.startswith("/v1/") and not one.path.startswith("/v1/receipts/")
    }
    assert len(served) > 10
    assert served - {(method, where.replace("templates/t", "templates/a")) for method, where in listed} == set()


def _routes() -> list[Route]:
    from serve_app.routes import routes

    return [one for one in routes(Edge().use_cases, separate=False).routes if isinstance(one, Route)]


def test_a_key_from_before_scopes_sends_and_reads(path: Path) -> None:
    """A key whose row has no scopes may send and read, but not use operators' routes or templates."""
    key = new_key(path, "shop")
    rows = json.loads(path.read_text())["keys"]
    path.write_text(json.dumps({"keys": [{k: v for k, v in row.items() if k != "scopes"} for row in rows]}))

    @virtual
    async def ask() -> None:
        edge = Edge(path)
        assert (await edge.call("POST", "/v1/triggers", body(), bearer(key))).status == 202
        assert (await edge.call("GET", "/v1/dead-letters", headers=bearer(key))).status == 200
        for where in ("/v1/plan", "/v1/templates", "/v1/vendors"):
            assert (await edge.call("GET", where, headers=bearer(key))).status == 403

    ask()


def test_the_probes_need_no_key(path: Path) -> None:
    """Probes, metrics, documentation and receipts are answered without a key."""
    new_key(path, "shop")

    @virtual
    async def ask() -> None:
        for where in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"):
            assert (await Edge(path).call("GET", where, headers={})).status == 200
        assert scope_needed("POST", "/v1/receipts/a") is None

    ask()


# ---- wrong keys


def test_wrong_keys_are_counted_and_slowed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten calls with a wrong key have failed. From then on each call with a wrong key waits for its 401, and a call
    beyond those that may wait gets a 429.

    A call with a right key never waits.
    """
    key = new_key(path, "shop")

    @virtual
    async def ask() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(access_control, "time", SimpleNamespace(monotonic=loop.time))
        edge = Edge(path)

        async def wrong() -> int:
            return (await edge.call("GET", "/v1/plan", headers=bearer("nd_00000000_x"))).status

        began_s = loop.time()
        assert [await wrong() for _ in range(access_control.FREE_FAILURES)] == [401] * access_control.FREE_FAILURES
        assert loop.time() - began_s < 0.1
        many = [asyncio.ensure_future(wrong()) for _ in range(100)]
        await asyncio.sleep(0.01)
        assert sum(task.done() for task in many) == 100 - access_control.WAITING_MAX
        began_s = loop.time()
        assert (await edge.call("POST", "/v1/triggers", body(), bearer(key))).status == 202
        assert loop.time() - began_s < 0.1
        answers = await asyncio.gather(*many)
        assert answers.count(429) == 100 - access_control.WAITING_MAX
        assert edge.desk.stage.counted("dispatcher_wrong_keys") == 100 + access_control.FREE_FAILURES

    ask()


def test_a_401_tells_how_to_authenticate(path: Path) -> None:
    """A 401 has the header WWW-Authenticate, as RFC 9110 demands."""
    new_key(path, "shop")

    @virtual
    async def ask() -> None:
        answer = await Edge(path).call("POST", "/v1/triggers", body())
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="dispatcher"')

    ask()
