"""Checks which errors of Redis concern one key only, and which say that the whole store can do nothing now."""

from __future__ import annotations

from typing import Any

import pytest
from redis._parsers.base import BaseParser

from dispatcher.adapters.redis.script_calls import answered, of_a_key
from dispatcher.errors import RefusedError, UnavailableError

WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
READONLY = "READONLY You can't write against a read only replica."


def error(text: str) -> Any:
    """Return the exception that redis-py makes from the text of an error reply.

    For some texts redis-py uses a class of its own and drops the first word.
    """
    return BaseParser.parse_error(text)


@pytest.mark.parametrize("text", [WRONGTYPE, f"ERR Error running script (call to f_1): @user_script:3: {WRONGTYPE}"])
def test_a_key_of_another_type_concerns_no_other(text: str) -> None:
    """Redis answers WRONGTYPE, also inside a script's error as Redis 6 reports it. The error becomes RefusedError,
    because it concerns one key only and the store is available for all other keys.
    """
    assert of_a_key(error(text))
    with pytest.raises(RefusedError, match="redis: claim: "):
        answered(error(text), "claim")


@pytest.mark.parametrize(
    "text",
    [
        READONLY,
        f"ERR Error running script (call to f_1): @user_script:3: {READONLY}",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script.",
        "NOSCRIPT No matching script. Please use EVAL.",
        "NOPERM this user has no permissions to run the 'hmget' command",
    ],
)
def test_what_the_store_says_of_itself_condemns_no_record(text: str) -> None:
    """An error of Redis is about the whole store, and not about one key. It becomes UnavailableError.

    If it counted as a fault of a key, a fail-over would mark every record as unreadable.
    """
    assert not of_a_key(error(text))
    with pytest.raises(UnavailableError) as raised:
        answered(error(text), "claim")
    assert not isinstance(raised.value, RefusedError)


def test_a_reply_is_a_reply() -> None:
    """A reply of Redis that is no error is returned unchanged. A None inside it is no error either."""
    assert answered(["x", None], "claim") == ["x", None]
    assert not of_a_key(None)
