"""A caller learns its accept rate from RateLimit fields, 429, Retry-After and a problem detail."""

from __future__ import annotations

import pickle
from typing import Any

from dispatcher.core.limits.accept_rate import AcceptRate, Quota
from dispatcher.errors import LimitedError
from dispatcher.telemetry.metrics import Metrics
from tests.unit.desk import body
from tests.unit.serve_app.http_application import JSON, Answer, Edge
from tests.virtual import virtual

TENANTS = {"tenants": {"default": {"accept_per_s": 0.5, "accept_burst": 2}}}


async def post(edge: Edge, n: int, key: str | None = None, **changes: Any) -> Answer:
    headers = JSON if key is None else {**JSON, "idempotency-key": key}
    return await edge.call("POST", "/v1/triggers", body(n, **changes), headers)


def fields(answer: Answer) -> tuple[str | None, str | None, str | None]:
    names = ("ratelimit-policy", "ratelimit", "retry-after")
    return tuple(answer.headers.get(name) for name in names)  # type: ignore[return-value]


def counted(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return {tuple(labels): n for metric, labels, n in metrics.snapshot()["c"] if metric == name}


@virtual
async def test_each_answer_tells_what_is_left_and_429_when_to_come_again() -> None:
    edge = Edge(**TENANTS)
    first, second, refused = [await post(edge, n) for n in range(3)]
    assert [answer.status for answer in (first, second, refused)] == [202, 202, 429]
    assert fields(first) == ('"accept";q=2;w=4', '"accept";r=1;t=2', None)
    assert fields(second) == ('"accept";q=2;w=4', '"accept";r=0;t=4', None)
    assert fields(refused) == ('"accept";q=2;w=4', '"accept";r=0;t=4', "2")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.body == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "The accept rate is used up",
        "status": 429,
        "detail": "the tenant's accept rate is 0.5 a second, at most 2 at once",
        "violated-policies": ["accept"],
    }


@virtual
async def test_a_wait_of_less_than_a_second_is_one_second() -> None:
    """`Retry-After` is rounded up to whole seconds.

    A 0 would mean at once, and rounding down would cause another 429.
    """
    for per_s, retry_after in ((5.0, "1"), (0.9, "2")):
        edge = Edge(tenants={"default": {"accept_per_s": per_s, "accept_burst": 1}})
        await post(edge, 0)
        refused = await post(edge, 1)
        assert (refused.status, refused.headers["retry-after"]) == (429, retry_after)


@virtual
async def test_a_repeat_and_a_dry_run_are_never_limited() -> None:
    edge = Edge(**TENANTS)
    first = await post(edge, 0, "order-1")
    assert [(await post(edge, n)).status for n in (1, 2)] == [202, 429]
    again = await post(edge, 0, "order-1")
    assert (again.status, again.body["id"], again.body["replayed"]) == (202, first.body["id"], True)
    assert fields(again) == (None, None, None)
    assert (await post(edge, 5, dry_run=True)).status == 200
    assert (await post(edge, 1, "order-1")).status == 409


@virtual
async def test_a_batch_is_limited_item_by_item() -> None:
    edge = Edge(**TENANTS)
    answer = await edge.call("POST", "/v1/triggers/batch", {"triggers": [body(n) for n in range(4)]})
    assert answer.status == 207
    assert [item["status"] for item in answer.body["results"]] == [202, 202, 429, 429]
    assert answer.body["results"][2]["violated-policies"] == ["accept"]
    assert answer.body["results"][2]["retry_after_s"] == 2.0


@virtual
async def test_without_a_limit_nothing_is_said() -> None:
    for settings in ({}, {"tenants": {"default": {"weight": 3}}}, {"tenants": {"other": {"accept_per_s": 1}}}):
        edge = Edge(**settings)
        answers = [await post(edge, n) for n in range(5)]
        assert {(answer.status, fields(answer)) for answer in answers} == {(202, (None, None, None))}


@virtual
async def test_answers_are_counted_by_tenant_and_the_unnamed_count_together() -> None:
    edge = Edge(**TENANTS)
    for n in range(3):
        await post(edge, n)
    await edge.desk.intake.accept("shop", body(9))
    name = "dispatcher_tenant_accepts"
    assert counted(edge.desk.stage.metrics, name) == {
        ("default", "accepted"): 2,
        ("default", "limited"): 1,
        ("other", "accepted"): 1,
    }
    many = Edge(tenants={f"tenant-{n}": {"weight": 2} for n in range(200)})
    for n in range(200):
        await many.desk.intake.accept(f"tenant-{n}", body(n))
    found = counted(many.desk.stage.metrics, name)
    assert len(found) == 101 and found["other", "accepted"] == 100


def test_the_error_survives_a_process_boundary() -> None:
    error = LimitedError(AcceptRate(50, 100), Quota(0, 20, 2_000))
    again = pickle.loads(pickle.dumps(error))
    assert (again.rate, again.quota, again.reason) == (error.rate, error.quota, error.reason)
    assert again.retry_after_s == 0.02
