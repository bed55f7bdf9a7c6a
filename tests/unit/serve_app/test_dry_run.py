"""A trigger with `dry_run`, posted over HTTP: its answer shows what would be sent, and nothing is stored."""

from __future__ import annotations

from tests.unit.desk import body
from tests.unit.serve_app.http_application import Edge
from tests.virtual import virtual


@virtual
async def test_the_answer_is_a_200_without_an_address() -> None:
    """A dry run gets a 200 with chain, mailbox, times, text and segments, without an id or address.

    Nothing is stored.
    """
    edge = Edge()
    answer = await edge.call("POST", "/v1/triggers", body(dry_run=True))
    assert answer.status == 200
    shown = answer.body
    assert (shown["dry_run"], shown["priority"], shown["on_unknown"]) == (True, "normal", "resend")
    (note,) = shown["notifications"]
    assert shown["expires_ms"] - note["send_at_ms"] == 86_400_000
    assert note["recipient"] is None
    assert (note["vendor"], note["chain"], note["text"]) == ("a", ["a", "b"], "Hi")
    assert note["sms"] == {"encoding": "gsm", "segments": 1}
    assert b"+49" not in answer.raw
    assert edge.desk.stage.states() == []


@virtual
async def test_in_a_batch_only_the_others_are_stored() -> None:
    """In a batch, each item has its own status, and only the items without `dry_run` are stored."""
    edge = Edge()
    answer = await edge.call("POST", "/v1/triggers/batch", {"triggers": [body(1, dry_run=True), body(2)]})
    assert [one["status"] for one in answer.body["results"]] == [200, 202]
    assert edge.desk.stage.states() == ["queued"]


@virtual
async def test_a_fault_is_a_422() -> None:
    """A wrong trigger gets the same 422 with the field as it would without `dry_run`."""
    answer = await Edge().call("POST", "/v1/triggers", body(dry_run=True, recipient={}))
    assert (answer.status, answer.body["field"]) == (422, "recipient.phone")


@virtual
async def test_it_is_described() -> None:
    """/openapi.json describes the field `dry_run` and both answers, 200 and 202."""
    described = (await Edge().call("GET", "/openapi.json")).body
    answers = described["paths"]["/v1/triggers"]["post"]["responses"]
    assert answers["200"]["content"]["application/json"]["schema"]["$ref"].endswith("DryRunResponse")
    assert "202" in answers
    assert "dry_run" in described["components"]["schemas"]["TriggerRequest"]["properties"]


@virtual
async def test_several_recipients_are_told_apart() -> None:
    """A trigger has several recipients. In each answer, each notification has its recipient's index in the list.

    The answers are the 202, its repeat, the dry run and GET.
    """
    edge = Edge()
    posted = {**body(idempotency_key="k"), "recipients": [{"phone": f"+4915112300{n:03}"} for n in range(3)]}
    del posted["recipient"]
    first = await edge.call("POST", "/v1/triggers", posted)
    again = await edge.call("POST", "/v1/triggers", posted)
    tried = await edge.call("POST", "/v1/triggers", {**posted, "dry_run": True})
    shown = await edge.call("GET", f"/v1/triggers/{first.body['id']}")
    assert (first.status, again.status, tried.status) == (202, 202, 200)
    for answer in (first, again, tried, shown):
        assert [n["recipient"] for n in answer.body["notifications"]] == [0, 1, 2]
