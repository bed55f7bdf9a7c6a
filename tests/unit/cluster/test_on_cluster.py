"""`deploy` refuses to remove the keys of a running service, or to change its address."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from cluster import on_cluster
from cluster.on_cluster import Order, remove
from serve_app.start_watch import Found


def order(host: str = "0.0.0.0", port: int = 8000, api_keys: str = "/keys.json") -> Order:
    return Order({}, "redis://x", api_keys, host, port, workers=2, addresses=["10.0.0.1", "10.0.0.2"], wait_s=1.0)


def refusal(
    monkeypatch: pytest.MonkeyPatch, asked: Order, runs: tuple[str, int] | None, protected: Collection[str]
) -> str:
    """Return the sentence with which the cluster refuses the deployment `asked`, or "" if it does not refuse.

    `runs` is the host and port where Serve already listens. `protected` are the addresses at which a key is needed.
    """
    monkeypatch.setattr(on_cluster, "_http_of_serve", lambda: runs)
    monkeypatch.setattr(on_cluster, "_asks_for_keys", lambda address, port: address in protected)
    return on_cluster._refusal(asked)


@pytest.mark.parametrize(
    ("asked", "runs", "protected", "word"),
    [
        (order(), None, (), ""),
        (order(), ("0.0.0.0", 8000), ("10.0.0.2",), ""),
        (order("127.0.0.1", api_keys=""), ("127.0.0.1", 8000), (), ""),
        (order("127.0.0.1", api_keys=""), ("127.0.0.1", 8000), ("127.0.0.1",), "would open it to everybody"),
        (order("0.0.0.0", api_keys=""), ("0.0.0.0", 8000), ("10.0.0.2",), "would open it to everybody"),
        (order(port=8001), ("0.0.0.0", 8000), (), "listens at 0.0.0.0:8000"),
        (order("127.0.0.1"), ("0.0.0.0", 8000), (), "listens at 0.0.0.0:8000"),
    ],
)
def test_a_running_service_is_neither_opened_nor_moved(
    monkeypatch: pytest.MonkeyPatch, asked: Order, runs: tuple[str, int] | None, protected: Collection[str], word: str
) -> None:
    """`deploy` asks for a service without keys, although a node asks for keys now. The order is refused.

    An order with another host or port than those of the running service is refused too.
    """
    found = refusal(monkeypatch, asked, runs, protected)
    assert word in found if word else found == ""


def test_undeploy_without_a_redis_removes_nothing() -> None:
    """An `undeploy` with a wrong Redis URL is refused in one sentence, before any application is removed."""
    assert remove({"redis_url": "no-url"})["refused"].startswith("nothing was removed: --redis-url")


UP, SLOW, GIVEN_UP = Found(True), Found(False, reason="no node"), Found(False, True, "no such file")


@pytest.mark.parametrize(
    ("looks", "wait_s", "started", "failed"),
    [
        ([{}, {"a": UP, "b": SLOW}, {"a": UP, "b": UP}], 60.0, [{"b"}], ""),
        ([{"a": UP, "b": GIVEN_UP}, {"a": UP, "b": UP}], 60.0, [{"b"}, {"b"}], ""),
        ([{"a": UP, "b": GIVEN_UP}] * 3, 60.0, [{"b"}, {"b"}, {"b"}], "b did not start in 3 runs: no such file"),
        ([{"a": UP, "b": SLOW}] * 9, 0.0, [{"b"}], "not running within 0 s: b (no node)"),
    ],
)
def test_a_deployment_waits_for_what_it_changed(
    monkeypatch: pytest.MonkeyPatch, looks: list[dict[str, Found]], wait_s: float, started: list[set[str]], failed: str
) -> None:
    """A deployment waits until all applications that it changed run.

    If Serve gives up an application, the deployment starts the application again, at most three times in all.
    """
    monkeypatch.setattr(on_cluster.time, "sleep", lambda seconds: None)
    begun: list[set[str]] = []
    look = iter(looks)
    assert (
        on_cluster._wait(["a", "b"], ["b"], lambda names: begun.append(set(names)), look.__next__, wait_s=wait_s)
        == failed
    )
    assert begun == started
