"""Checks the bodies of requests. Every route reads its body through one bounded, strict reader, and no input gives a
5xx.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from serve_app.description import KEY_LENGTH_MAX
from tests.unit.desk import body
from tests.unit.serve_app.http_application import JSON, LINKS, Edge
from tests.virtual import virtual

ROUTES = [
    ("POST", "/v1/triggers"),
    ("POST", "/v1/triggers/batch"),
    ("POST", "/v1/triggers/0-abc/cancel"),
    ("POST", "/v1/vendors/a/override"),
    ("POST", "/v1/dead-letters/redrive"),
    ("POST", "/v1/dead-letters/discard"),
    ("PUT", "/v1/templates/t"),
    ("POST", "/v1/templates/t/preview"),
]
STRANGE = {
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": [-Infinity]}',
    "beyond a double": b'{"a": 1e999}',
    "a key twice": b'{"a": 1, "a": 2}',
    "half a surrogate pair": b'{"a": "\\ud800"}',
    "half a pair as a key": b'{"\\udfff": 1}',
    "too deep": b"[" * 100_000,
    "deep and closed": b'{"a": ' + b"[" * 50 + b"]" * 50 + b"}",
    "no UTF-8": b'{"a": "\xff"}',
    "thousands of digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "cut": b'{"a": ',
}


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_body_is_refused_alike_everywhere(method: str, path: str, name: str) -> None:
    """Every route answers malformed or ambiguous JSON with a 400 whose field is `body`."""

    @virtual
    async def ask() -> None:
        answer = await Edge().call(method, path, STRANGE[name])
        assert (answer.status, answer.body["field"]) == (400, "body")
        assert answer.headers["content-type"] == "application/problem+json"

    ask()


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("POST", "/v1/receipts/a")])
def test_no_route_reads_without_a_limit(method: str, path: str) -> None:
    """An endless body gets a 413 before 20 MB are read.

    A body that comes at a byte a second gets a 408 after five seconds.
    """

    @virtual
    async def ask() -> None:
        read = 0

        async def endless() -> dict[str, Any]:
            nonlocal read
            read += 65_536
            assert read < 20_000_000, "the whole body was read"
            return {"type": "http.request", "body": b" " * 65_536, "more_body": True}

        async def dripping() -> dict[str, Any]:
            await asyncio.sleep(1.0)
            return {"type": "http.request", "body": b" ", "more_body": True}

        assert (await Edge().call(method, path, receive=endless)).status == 413
        began_s = asyncio.get_running_loop().time()
        assert (await asyncio.wait_for(Edge().call(method, path, receive=dripping), 60)).status == 408
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(5.0)

    ask()


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("media", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_a_body_must_be_declared_as_json(method: str, path: str, media: str | None) -> None:
    """A body whose Content-Type is not JSON gets a 415. A foreign web page can post forms and texts, but no JSON."""

    @virtual
    async def ask() -> None:
        edge = Edge()
        answer = await edge.call(method, path, body(), {} if media is None else {"content-type": media})
        assert (answer.status, answer.body["field"]) == (415, "Content-Type")
        assert edge.desk.stage.states() == []

    ask()


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("Application/JSON; charset=utf-8", 202),
        ('application/json;Charset="UTF-8"', 202),
        ("application/json; charset=us-ascii; profile=x", 202),
        ("application/json; charset=iso-8859-1", 415),
        ("application/json; profile=x;charset='utf-16'", 415),
        ("application/json; charset=", 415),
        ("application/json, application/json", 415),
    ],
)
def test_json_may_name_its_charset_and_no_other(media: str, status: int) -> None:
    """The Content-Type of JSON may have parameters and any case. A charset other than UTF-8 or ASCII gets a 415."""

    @virtual
    async def ask() -> None:
        assert (await Edge().call("POST", "/v1/triggers", body(), {"content-type": media})).status == status

    ask()


@pytest.mark.parametrize("name", ["content-type", "content-encoding", "idempotency-key"])
def test_a_header_that_decides_is_given_once(name: str) -> None:
    """A repeated Content-Type, Content-Encoding or Idempotency-Key gets a 400, because a proxy may have read the
    other value.
    """

    @virtual
    async def ask() -> None:
        edge, given = Edge(), {**JSON, "content-encoding": "identity", "idempotency-key": "k"}
        answer = await edge.call("POST", "/v1/triggers", body(), [*given.items(), (name, given[name])])
        assert (answer.status, answer.body["field"]) == (400, name.title())
        assert edge.desk.stage.states() == []

    ask()


@virtual
async def test_a_batch_of_events_of_768_kilobytes_is_heard() -> None:
    """SendGrid posts up to 768 KB of events at once. All of them are read, even if one contains a broken character."""
    edge = Edge(vendors={**VENDORS, "grid": {"adapter": "sendgrid", "channel": "email"}})
    token = LINKS.link("grid", "0-abc.0").token
    events = [{"event": "delivered", "nid": "0-abc.0", "ntoken": token, "pad": "x" * 400} for _ in range(1_500)]
    text = json.dumps(events).encode().replace(b'"pad": "x', b'"pad": "\\ud83d', 1)
    assert 700_000 < len(text) < 786_432
    answer = await edge.call("POST", "/v1/receipts/grid", text)
    assert (answer.status, answer.body) == (200, {"results": {"unknown": 1_500}})


VENDORS = {
    "a": {"adapter": "twilio", "channel": "sms"},
    "b": {"adapter": "vonage", "channel": "sms"},
    "mail": {"adapter": "smtp", "channel": "email"},
}


@pytest.mark.parametrize(
    ("vendor", "query", "text", "status"),
    [
        ("grid", "", b'[{"nid":"\\ud800"}]', 403),
        ("grid", "", b'[{"nid":"0-abc.0","ntoken":"\\udfff"}]', 403),
        ("grid", "", '[{"nid":"0-äbc.0","ntoken":"ä"}]'.encode(), 403),
        ("grid", "", b'[{"nid":"\xff"}]', 403),
        ("grid", "", b'[{"nid":{"a":[]}, "ntoken":NaN}]', 403),
        ("grid", "", b"[" * 100_000, 400),
        ("grid", "", b"[" + b"9" * 5_000 + b"]", 400),
        ("grid", "", b"{}", 400),
        ("b", "n=0-abc.0&t=%ED%A0%80", b"", 403),
        ("b", "n=0-abc.0&t=x", b'{"status": ["a"]}', 403),
        ("b", "n=0-abc.0&t=x", b'{"n": "\\ud800", "t": "\\ud800"}', 403),
        ("b", "n=0-abc.0&t=x", b"{" * 100_000, 400),
        ("a", "n=0-abc.0&t=x", b"&".join(b"a=b" for _ in range(100_000)), 400),
        ("a", "n=%00&t=%FF", b"MessageStatus=%FF%ED%A0%80", 403),
    ],
)
def test_no_call_back_gives_a_5xx(vendor: str, query: str, text: bytes, status: int) -> None:
    """A call-back with any content gets a 4xx, because anybody may call this route without a key."""

    @virtual
    async def ask() -> None:
        edge = Edge(vendors={**VENDORS, "grid": {"adapter": "sendgrid", "channel": "email"}})
        answer = await edge.call("POST", f"/v1/receipts/{vendor}?{query}", text)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"

    ask()


HUGE = str(10**40)


@pytest.mark.parametrize(
    ("method", "path", "given", "field"),
    [
        ("GET", "/v1/dead-letters?ids=" + ",".join(str(n) for n in range(1_001)), None, "ids"),
        ("POST", "/v1/dead-letters/redrive", {"ids": [str(n) for n in range(1_001)]}, "ids"),
        ("GET", "/v1/dead-letters?limit=0", None, "limit"),
        ("GET", f"/v1/dead-letters?limit={HUGE}", None, "limit"),
        ("GET", "/v1/plan?limit=-1", None, "limit"),
        ("POST", "/v1/vendors/a/override", {"state": "open", "for_s": True}, "for_s"),
        ("POST", "/v1/vendors/a/override", {"state": "open", "for_s": "60"}, "for_s"),
        ("POST", "/v1/vendors/a/override", {"state": "open", "why": "\x1b[2J"}, "why"),
        ("POST", "/v1/templates/t/preview", {"version": True}, "version"),
        ("POST", "/v1/dead-letters/redrive", {"dry_run": "no"}, "dry_run"),
        ("GET", "/v1/dead-letters?ids=", None, "ids"),
        ("GET", "/v1/dead-letters?ids=0-a.0,", None, "ids"),
        ("POST", "/v1/dead-letters/discard", {"ids": []}, "ids"),
        ("POST", "/v1/dead-letters/redrive", {"ids": [""]}, "ids.0"),
        ("GET", f"/v1/dead-letters?since={HUGE}", None, "since"),
        ("GET", "/v1/dead-letters?until=-1", None, "until"),
        ("GET", "/v1/dead-letters?cursor=%00", None, "cursor"),
        ("GET", "/v1/dead-letters?cursor=" + "9" * 201, None, "cursor"),
        ("POST", "/v1/dead-letters/redrive", {"since": int(HUGE)}, "since"),
        ("GET", f"/v1/templates/t?version={HUGE}", None, "version"),
        ("POST", "/v1/templates/t/preview", {"version": int(HUGE)}, "version"),
        ("GET", "/v1/triggers", None, "idempotency_key"),
        ("POST", "/v1/vendors/a/override", {"state": "open", "for_s": int(HUGE)}, "for_s"),
        ("POST", "/v1/triggers", body(send_at="9999-12-31T23:59:59Z"), "send_at"),
        ("POST", "/v1/triggers", body(expires_in_s=int(HUGE)), "expires_in_s"),
    ],
)
def test_a_value_out_of_range_names_its_field(method: str, path: str, given: Any, field: str) -> None:
    """A number, a list or a text out of its bounds gets a 422 that names the field."""

    @virtual
    async def ask() -> None:
        edge = Edge(events={"checkout.completed": {"quiet_hours": QUIET, "notifications": PARTS}}, templates=TEXTS)
        answer = await edge.call(method, path, b"" if given is None else given)
        assert (answer.status, answer.body["field"]) == (422, field)

    ask()


QUIET = {"begin": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"}
PARTS = [{"channel": "sms", "template": "t"}]
TEXTS = {"t": {"text": "Hi"}}


@virtual
async def test_two_idempotency_keys_are_refused() -> None:
    """A request with two different Idempotency-Key headers gets a 400, and nothing is stored."""
    edge = Edge()
    two = [*JSON.items(), ("idempotency-key", "one"), ("idempotency-key", "two")]
    answer = await edge.call("POST", "/v1/triggers", body(), two)
    assert (answer.status, answer.body["field"]) == (400, "Idempotency-Key")
    assert edge.desk.stage.states() == []


@virtual
async def test_a_quoted_key_and_a_bare_one_are_one_key() -> None:
    """An Idempotency-Key in quotes is the same key as without them.

    The IETF draft demands quotes, but most callers send none.
    """
    edge = Edge()
    first = await edge.call("POST", "/v1/triggers", body(), {**JSON, "idempotency-key": "k\\1"})
    again = await edge.call("POST", "/v1/triggers", body(), {**JSON, "idempotency-key": '"k\\\\1"'})
    assert again.body == {**first.body, "replayed": True}


@virtual
async def test_a_key_may_be_as_long_as_the_description_says() -> None:
    edge = Edge()
    for length, status in ((KEY_LENGTH_MAX, 202), (KEY_LENGTH_MAX + 1, 400)):
        answer = await edge.call("POST", "/v1/triggers", body(), {**JSON, "idempotency-key": "k" * length})
        assert answer.status == status


@pytest.mark.parametrize("key", ['"', '"k', '"k"x', '"k\\x"', '"a", "b"', '""'])
def test_a_malformed_quoted_key_is_refused(key: str) -> None:
    """A key that begins with a quote but is no correct quoted string gets a 400."""

    @virtual
    async def ask() -> None:
        answer = await Edge().call("POST", "/v1/triggers", body(), {**JSON, "idempotency-key": key})
        assert (answer.status, answer.body["field"]) == (400, "Idempotency-Key")

    ask()


@virtual
async def test_another_body_under_a_key_has_its_own_problem_type() -> None:
    """A used key with another body gets a 409 with a problem type of its own, by which a program can recognise it."""
    edge, headers = Edge(), {**JSON, "idempotency-key": "k"}
    assert (await edge.call("POST", "/v1/triggers", body(0), headers)).status == 202
    answer = await edge.call("POST", "/v1/triggers", body(1), headers)
    assert answer.status == 409
    assert answer.body["type"] == "urn:resilient-dispatcher:problem:idempotency-key-reused"


def test_an_attachment_is_refused_by_its_name() -> None:
    """A trigger with attachments gets a 422 that names the field, and nothing is stored. Mails have no attachments."""

    @virtual
    async def ask() -> None:
        edge = Edge()
        answer = await edge.call("POST", "/v1/triggers", {**body(), "attachments": [{"name": "a.pdf", "content": ""}]})
        assert (answer.status, answer.body["field"]) == (422, "attachments")
        assert not edge.desk.stage.states()

    ask()


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/dead-letters?chanel=sms", "chanel"),
        ("/v1/dead-letters?channel=fax", "channel"),
        ("/v1/dead-letters?channel=SMS", "channel"),
        ("/v1/dead-letters?reason=a&reason=b", "reason"),
        ("/v1/notifications?state=queued&tenant=other", "tenant"),
        ("/v1/notifications?state=queued&channel=fax", "channel"),
        ("/v1/triggers?idempotency_key=a&idempotency_key=b", "idempotency_key"),
        ("/v1/vendors?state=open", "state"),
        ("/v1/plan?limit=1&a%20b=c", "query"),
    ],
)
def test_a_filter_that_is_none_lists_nothing(path: str, field: str) -> None:
    """An unknown, repeated or wrong query parameter gets a 422, because ignoring a filter would list everything."""

    @virtual
    async def ask() -> None:
        answer = await Edge().call("GET", path)
        assert (answer.status, answer.body["field"]) == (422, field)

    ask()


@pytest.mark.parametrize("path", ["/v1/triggers", "/v1/triggers/batch"])
@pytest.mark.parametrize(("query", "field"), [("dry_run=true", "dry_run"), ("a%20b", "query"), ("key=1&key=2", "key")])
def test_a_parameter_that_is_none_sends_nothing(path: str, query: str, field: str) -> None:
    """A request has a query parameter that the route does not know, such as `?dry_run=true`. It gets a 422 that names
    the parameter, and nothing is sent.

    `dry_run` is a field of the body. If the parameter were ignored, the message would be sent.
    """

    @virtual
    async def ask() -> None:
        edge = Edge()
        answer = await edge.call(
            "POST", f"{path}?{query}", body() if path == "/v1/triggers" else {"triggers": [body()]}
        )
        assert (answer.status, answer.body["field"]) == (422, field)
        assert edge.desk.store.stored == []

    ask()


@virtual
async def test_two_batches_are_one_only_if_their_keys_are_equal() -> None:
    """Long keys that differ at their ends are two; the second batch was taken for a repeat, and nothing was sent."""
    edge = Edge()

    async def post(key: str) -> Any:
        headers = {**JSON, "idempotency-key": key}
        return (await edge.call("POST", "/v1/triggers/batch", {"triggers": [body()]}, headers)).body["results"][0]

    first, second, again = await post("k" * 254 + "1"), await post("k" * 254 + "2"), await post("k" * 254 + "1")
    assert [one["replayed"] for one in (first, second, again)] == [False, False, True]
    assert first["id"] == again["id"] != second["id"]


@pytest.mark.parametrize("key", ["", '""', " k", "k" * 256, "\u00fc"])
def test_a_batch_needs_a_key_that_is_one(key: str) -> None:
    """An empty variable gave every batch the same key, so equal triggers of later batches were never sent."""

    @virtual
    async def ask() -> None:
        answer = await Edge().call(
            "POST", "/v1/triggers/batch", {"triggers": [body()]}, {**JSON, "idempotency-key": key}
        )
        assert (answer.status, answer.body["field"]) == (400, "Idempotency-Key")

    ask()


@virtual
async def test_a_call_back_and_a_probe_may_have_any_parameter() -> None:
    """Receipts, probes and metrics ignore unknown query parameters, because providers and monitors add their own."""
    edge = Edge()
    assert (await edge.call("GET", "/readyz?from=monitor&from=again")).status == 200
    assert (await edge.call("GET", "/metrics?x=1")).status == 200
    answer = await edge.call("POST", "/v1/receipts/a?n=0-a.0&t=x&bodySHA256=abc", b"MessageStatus=sent", {})
    assert answer.status == 403, "the token, and not the parameter"
