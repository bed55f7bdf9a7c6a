"""Unknown paths, HEAD, the documentation page and readiness answer in the way that HTTP tools expect."""

from __future__ import annotations

import re

import pytest

from tests.unit.serve_app.http_application import Edge
from tests.virtual import virtual


@pytest.mark.parametrize(
    ("method", "where", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("GET", "/healthz/", 404, None),
        ("GET", "/v1/triggers/0-a/", 404, None),
        ("POST", "/v1/triggers/", 404, None),
        ("DELETE", "/v1/triggers", 405, "GET, HEAD, POST"),
        ("GET", "/v1/triggers/batch/cancel", 405, "POST"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("HEAD", "/v1/dead-letters/redrive", 405, "POST"),
    ],
)
def test_what_is_not_served_is_a_problem(method: str, where: str, status: int, allow: str | None) -> None:
    """An unknown path gets a 404 and an unknown method a 405, both as problem details.

    A trailing slash never redirects.
    """

    @virtual
    async def ask() -> None:
        answer = await Edge().call(method, where)
        assert (answer.status, answer.headers.get("allow")) == (status, allow)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "location" not in answer.headers
        if method != "HEAD":
            assert answer.body["status"] == status

    ask()


@pytest.mark.parametrize("where", ["/healthz", "/readyz", "/metrics", "/v1/plan", "/openapi.json", "/docs"])
def test_head_is_get_without_the_body(where: str) -> None:
    """HEAD gets the status and headers of GET, and no body. Load balancers and monitors use HEAD."""

    @virtual
    async def ask() -> None:
        edge = Edge()
        head, get = await edge.call("HEAD", where), await edge.call("GET", where)
        assert (head.status, head.raw, head.headers) == (get.status, b"", get.headers)

    ask()


async def test_the_documentation_loads_nothing_from_elsewhere() -> None:
    """The documentation page loads its script and style from this service, and nothing from any other host."""
    edge = Edge()
    page = (await edge.call("GET", "/docs")).raw.decode()
    loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)["']""", page)
    assert len(loaded) >= 3
    assert [one for one in loaded if not one.startswith("/")] == []
    assert "https:" not in page
    assert '"validatorUrl": null' in page, "Swagger UI would send our description to its own server"
    for one in loaded:
        answer = await edge.call("GET", one)
        assert (answer.status, len(answer.raw) > 1_000) == (200, True)


@virtual
async def test_readiness_tells_whose_it_is() -> None:
    """/readyz contains the installation's id.

    `up` compares it, because another installation may answer at the same address.
    """
    assert (await Edge().call("GET", "/readyz")).body == {"status": "ready", "installation": "0123456789abcdef"}
