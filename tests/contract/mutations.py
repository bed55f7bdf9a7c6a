"""Defines `edited`, which takes one protection out of a Lua script, for the tests of the contract tests."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import redis.asyncio

from dispatcher.adapters.redis import script_calls as scripts
from dispatcher.adapters.redis.script_calls import Script, script
from tests.contract.worlds import World

RED = (AssertionError, pytest.fail.Exception)
"""The exceptions of a failed contract test: a failed assertion, or an expected error that was not raised.

Other errors do not count, because a mutation that is no valid Lua raises one too.
"""

Mutation = Callable[[], contextlib.AbstractContextManager[Any]]
Test = Callable[[World, redis.asyncio.Redis, str], Awaitable[None]]


def edited(name: str, *edits: tuple[str, str]) -> Mutation:
    """Return a mutation that replaces texts in one script. Each text to replace must be in the script."""

    @contextlib.contextmanager
    def mutate() -> Iterator[None]:
        body = script(name).body
        for old, new in edits:
            assert old in body, f"{name}.lua has changed: {old}"
            body = body.replace(old, new)
        changed = Script(hashlib.sha1(body.encode()).hexdigest(), body)
        with mock.patch.object(scripts, "script", lambda wanted: changed if wanted == name else script(wanted)):
            yield

    return mutate
