"""Checks GET /v1/notifications: its rows, its pages, and what a tenant may see."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from dispatcher.adapters.api_keys import new_key
from dispatcher.core.life.listing import LISTED
from serve_app.notification_routes import ListedState
from tests.unit.desk import body
from tests.unit.serve_app.http_application import JSON, Edge
from tests.virtual import virtual


def test_every_state_that_can_be_listed_is_offered() -> None:
    """The HTTP interface offers exactly the states that the core can list."""
    assert get_args(ListedState) == tuple(LISTED)


async def all_pages(edge: Edge, query: str, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    rows, cursor = [], ""
    while True:
        answer = await edge.call("GET", f"/v1/notifications?{query}{cursor}", b"", headers)
        assert answer.status == 200, answer.raw
        rows += answer.body["notifications"]
        if answer.body["cursor"] is None:
            return rows
        cursor = f"&cursor={answer.body['cursor'].replace('|', '%7C')}"


@virtual
async def test_a_page_has_names_times_and_a_cursor() -> None:
    """Each row has the caller's key, the recipient's id, and each moment in milliseconds and as local time, but no
    address.
    """
    edge = Edge()
    for n in range(5):
        request = body(n, recipient={"phone": f"+4915112345{n:03}", "id": f"c-{n}"})
        await edge.call("POST", "/v1/triggers", request, {**JSON, "idempotency-key": f"k{n}"})
    rows = await all_pages(edge, "state=queued&limit=2")
    assert [row["idempotency_key"] for row in rows] == [f"k{n}" for n in range(5)]
    assert [row["recipient_id"] for row in rows] == [f"c-{n}" for n in range(5)]
    assert all(row["accepted"].startswith("20") and row["accepted_ms"] > 0 for row in rows)
    assert {row["until"] for row in rows} == {None}
    later = body(6, send_at="2099-01-01T00:00:00Z")
    await edge.call("POST", "/v1/triggers", later)
    (row,) = await all_pages(edge, "state=scheduled")
    assert row["until_ms"] == 4_070_908_800_000 and row["until"] is not None
    assert "phone" not in str(row) and "+49" not in str(row)


@pytest.mark.parametrize(
    ("query", "field"),
    [("", "state"), ("state=settled", "state"), ("state=due&limit=0", "limit"), ("state=due&cursor=7", "cursor")],
)
@virtual
async def test_what_cannot_be_listed_is_refused_by_its_field(query: str, field: str) -> None:
    """A wrong parameter gets a 422 that names its field. Ended states, such as settled, cannot be listed."""
    answer = await Edge().call("GET", f"/v1/notifications?{query}")
    assert (answer.status, answer.body["field"]) == (422, field)


@virtual
async def test_a_tenant_sees_only_its_own(tmp_path: Path) -> None:
    """A list has only the notifications of the key's tenant. A key without the scope `read` gets a 403."""
    keys = tmp_path / "api_keys.json"
    made = {tenant: new_key(keys, tenant) for tenant in ("shop", "other")}
    sender = new_key(keys, "shop", ("send",))
    edge = Edge(keys)
    for tenant, key in made.items():
        headers = {**JSON, "authorization": f"Bearer {key}"}
        posted = await edge.call("POST", "/v1/triggers", body(), {**headers, "idempotency-key": tenant})
        assert posted.status == 202
        rows = await all_pages(edge, "state=queued", headers)
        assert [row["tenant"] for row in rows] == [tenant]
    refused = await edge.call("GET", "/v1/notifications?state=queued", b"", {"authorization": f"Bearer {sender}"})
    assert refused.status == 403
