"""The samples of a profile are counted for the packages in which the time was spent."""

from __future__ import annotations

import pytest

from benchmarks.hotspots import package, shares


@pytest.mark.parametrize(
    ("stack", "payer"),
    [
        (["run (threading.py:1)", "_post (serve_app/asgi.py:80)"], "serve_app"),
        (["_post (serve_app/asgi.py:80)", "dumps (json/__init__.py:231)"], "serve_app"),
        (["_send (dispatcher/adapters/redis/script_calls.py:7)", "execute (redis/asyncio/client.py:1)"], "redis"),
        (["execute (redis/asyncio/client.py:1)", "writelines (asyncio/streams.py:346)"], "redis"),
        (["run (threading.py:1)", "write"], "python"),
        ([], "python"),
    ],
)
def test_a_look_is_charged_to_the_innermost_package(stack: list[str], payer: str) -> None:
    assert package(stack) == payer


def test_shares_weigh_each_stack_by_its_count() -> None:
    lines = ["a (dispatcher/x.py:1) 3", "a (dispatcher/x.py:2);b (redis/y.py:1) 1"]
    by_package, functions = shares(lines)
    assert by_package == {"dispatcher": 75.0, "redis": 25.0}
    assert functions == [("a (dispatcher/x.py)", 75.0), ("b (redis/y.py)", 25.0)]
