"""Strict JSON: any body is read as a value or raises `CallerError`, in linear time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatcher.errors import CallerError
from dispatcher.wire.json import parse_foreign_json, parse_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(values, st.integers(1, 6))
@example({'"[{\\': [[["\\\\"]]]}, 4)
@example([[], [[], [[]]], "[[[["], 3)
def test_the_depth_counted_is_the_depth_there_is(value: Any, depth_max: int) -> None:
    """A document is refused for its depth exactly when it is nested deeper than allowed.

    Brackets inside its strings do not count.
    """
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if any(0xD800 <= ord(char) < 0xE000 for char in str(value)):
        return
    if depth(value) > depth_max:
        with pytest.raises(CallerError, match="nested deeper"):
            parse_json(body, depth_max)
    else:
        assert parse_json(body, depth_max) == value


@given(st.binary(max_size=200) | st.text('[]{}",:\\u0d8f1e- \n', max_size=200).map(str.encode))
def test_garbage_is_a_callers_error(body: bytes) -> None:
    """Any bytes are read, or raise `CallerError` with status 400."""
    try:
        parse_json(body, 16)
    except CallerError as error:
        assert error.status == 400
        assert error.field == "body"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 262_144, id="opened only"),
        pytest.param(b"[" * 131_072 + b"]" * 131_072, id="deep and closed"),
        pytest.param(b'{"a":' * 50_000, id="objects"),
        pytest.param(b'[[[["\\"' + b"[" * 200_000, id="open string"),
        pytest.param(b'"' + b'\\"' * 131_000, id="escapes only"),
        pytest.param(b"[" + b"[]," * 80_000 + b"x]", id="wide"),
        pytest.param(b'\\"' + b"[" * 200_000, id="backslash outside of a string"),
        pytest.param(b'["\\\\", ' + b"[" * 200 + b"]" * 201, id="after a string that ends in a backslash"),
    ],
)
def test_no_body_exhausts_the_parser(body: bytes) -> None:
    """A hostile body of the largest size is refused within three seconds of CPU time, without a deep recursion."""
    began_s = time.process_time()
    with pytest.raises(CallerError):
        parse_json(body, 16)
    assert time.process_time() - began_s < 3.0  # includes garbage collection; a quadratic parser takes minutes


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "must be JSON"),
        (b'{"a": 1} x', "must be JSON"),
        (b"\xff", "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b"NaN", "NaN or Infinity"),
        (b'{"a": -Infinity}', "NaN or Infinity"),
        (b"1e400", "range of a double"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'[{"b": {"a": 1, "\\u0061": 2}}]', "twice"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b"9" * 10_000, "digits"),
    ],
)
def test_what_python_would_accept_but_we_refuse(body: bytes, rule: str) -> None:
    """A body that breaks one of our JSON rules is refused with status 400, and the error tells the rule."""
    with pytest.raises(CallerError, match=rule) as caught:
        parse_json(body, 16)
    assert caught.value.status == 400


def test_a_whole_surrogate_pair_is_one_character() -> None:
    """A complete surrogate pair is read as one character. Only half a pair is refused."""
    assert parse_json(b'"\\ud83d\\ude00"', 16) == "😀"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (
            b'{"reason": "a\\ud83d", "\\udfffb": [{"c": "\\ud83d\\ude00"}]}',
            {"reason": "a\ufffd", "\ufffdb": [{"c": "😀"}]},
        ),
        (b'{"a": 1, "a": 2, "b": NaN, "c": -Infinity}', {"a": 2, "b": None, "c": None}),
        (b'["\xff"]', ["\ufffd"]),
    ],
)
def test_what_a_provider_sends_can_be_stored(body: bytes, value: Any) -> None:
    """JSON of a provider is read although it breaks our rules.

    Half a surrogate pair is replaced, so that records and logs can hold the text.
    """
    found = parse_foreign_json(body, 8)
    assert found == value
    json.dumps(found, ensure_ascii=False).encode()


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{" * 100_000, b"", b"[" + b"9" * 5_000 + b"]", b'"', b"{}{}"])
def test_what_a_provider_sends_is_bounded(body: bytes) -> None:
    """A provider's body that is too deep or no JSON gets a 400, because anybody can post to a call-back's address."""
    with pytest.raises(CallerError) as caught:
        parse_foreign_json(body, 8)
    assert caught.value.status == 400


def test_a_byte_order_mark_has_no_meaning() -> None:
    """One byte order mark before a document is ignored, as RFC 8259, section 8.1, allows. .NET writes it.

    Two marks are refused.
    """
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', 4) == {"a": 1}
    assert parse_foreign_json(b'\xef\xbb\xbf[{"a": 1}]', 4) == [{"a": 1}]
    with pytest.raises(CallerError):
        parse_json(b"\xef\xbb\xbf\xef\xbb\xbf{}", 4)
