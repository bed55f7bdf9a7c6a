"""Strict JSON: a document has exactly one meaning, and no document can exhaust the parser.

Python's own parser does not guarantee this. Here the depth is counted over the bytes before anything recurses.
Duplicate keys, NaN, Infinity, numbers that overflow to Infinity, and lone surrogates (which no store can keep) are
refused.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from dispatcher.core.json_object import JsonObject
from dispatcher.errors import CallerError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Programs written in .NET put this mark before a document. A reader may ignore it (RFC 8259, section 8.1)."""
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class _RefusedError(ValueError):
    """The document has something that Python's JSON allows and ours does not. `args[0]` is the broken rule."""


def parse_json(body: bytes, depth_max: int, field: str = "body") -> Any:
    """Return the value of the JSON document `body`. The caller limits the size of `body` first.

    Raises CallerError (400). The error names `field`, and never repeats anything from the document.
    """
    if _too_deep(body, depth_max):
        raise CallerError(field, f"must not be nested deeper than {depth_max} levels", 400)
    try:
        value = _DECODER.decode(body.removeprefix(BYTE_ORDER_MARK).decode("utf-8"))
    except UnicodeDecodeError:
        raise CallerError(field, "must be UTF-8", 400) from None
    except json.JSONDecodeError as error:
        raise CallerError(field, f"must be JSON: {error.msg} at character {error.pos}", 400) from None
    except _RefusedError as error:
        raise CallerError(field, str(error), 400) from None
    except ValueError:  # an integer of more digits than Python converts
        raise CallerError(field, "must not contain a number with thousands of digits", 400) from None
    if _SURROGATE_ESCAPE.search(body) and not _encodable(value):
        raise CallerError(field, "must not contain half a surrogate pair", 400)
    return value


def parse_foreign_json(body: bytes, depth_max: int, field: str = "body") -> Any:
    """Return the value of a JSON document that another service wrote. Only its depth is limited strictly.

    A provider sends hundreds of events at once, so an odd text in one of them must not make the others fail. If a key
    comes twice, the last one counts. NaN and Infinity become None, and half a surrogate pair becomes U+FFFD. Raises
    CallerError (400) if the document is not JSON or too deep.
    """
    if _too_deep(body, depth_max):
        raise CallerError(field, f"must not be nested deeper than {depth_max} levels", 400)
    try:
        value = json.loads(body.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise CallerError(field, "must be JSON", 400) from None
    return _mended(value) if _SURROGATE_ESCAPE.search(body) else value


def _mended(value: Any) -> Any:
    """Return the value with U+FFFD for each half of a surrogate pair.

    The depth was checked before, so recursion is safe.
    """
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value


def _too_deep(body: bytes, depth_max: int) -> bool:
    """Return True if the parser would recurse deeper than `depth_max`. The time is linear in the length of `body`.

    For a malformed body the limit may be twice as high. The depth is found without recursion. First, escaped
    backslashes and escaped quotes are removed, so that each remaining quote begins or ends a string. So every second
    piece between quotes is outside of strings. Then each round removes the innermost brackets, and the number of rounds
    is the depth.
    """
    if body.count(b"[") + body.count(b"{") <= depth_max:
        return False
    pieces = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    brackets = b"".join(pieces[::2]).translate(_TO_SQUARE, _NOT_BRACKETS)
    for _ in range(depth_max):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return b"[]" in brackets or brackets.count(b"[") > depth_max


def _unique(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RefusedError("must not name a key twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _RefusedError("must not contain a number beyond the range of a double")
    return number


def _constant(name: str) -> Any:
    raise _RefusedError("must not contain NaN or Infinity")


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_constant)
