"""Checks how answers of token endpoints are read, including answers that do not follow RFC 6749."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dispatcher.adapters.providers.oauth import LIFE_S, read_token


@pytest.mark.parametrize(
    ("answer", "life_s"),
    [
        ({"access_token": "ya29.a0", "expires_in": 3599, "token_type": "Bearer"}, 3599.0),
        ({"access_token": "ya29.a0", "expires_in": "3599", "ext_expires_in": "3599"}, 3599.0),
        ({"access_token": "ya29.a0", "expires_in": 3599.5}, 3599.5),
        ({"access_token": "ya29.a0"}, LIFE_S),
        ({"access_token": "ya29.a0", "expires_in": None}, LIFE_S),
    ],
)
def test_a_token_has_the_life_that_the_answer_gives(answer: dict[str, Any], life_s: float) -> None:
    """A token's life is read from `expires_in` as a number or as text.

    If `expires_in` is missing or null, the life is LIFE_S.
    """
    assert read_token(json.dumps(answer).encode()) == ("ya29.a0", life_s)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>maintenance</html>",
        b"[]",
        b'{"error": "invalid_grant"}',
        b'{"access_token": null}',
        b'{"access_token": 5}',
        b'{"access_token": ""}',
        b'{"access_token": "a\\nb"}',
        b'{"access_token": "a b"}',
        b'{"access_token": "\\u00e4"}',
        b'{"access_token": "a", "expires_in": "soon"}',
        b'{"access_token": "a", "expires_in": []}',
        b'{"access_token": "a", "expires_in": 1' + b"0" * 5_000 + b"}",
    ],
)
def test_what_is_no_token_is_never_sent(body: bytes) -> None:
    """The token server's answer has no usable token. Reading it gives an empty token and raises no error."""
    assert read_token(body)[0] == ""
