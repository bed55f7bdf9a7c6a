"""The filters of templates. Each accepts some kinds of values, and raises `Refused` for the others."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from markupsafe import escape

from dispatcher.templates.formats import NUMBER_MAX, plain_number, rounded
from dispatcher.templates.html import safe_url

TEXT_CHARS_MAX = 65_536
"""The most characters of a text that a filter makes."""

Filter = Callable[..., Any]


class Refused(Exception):
    """A filter does not accept its value, or a value cannot be printed. The error's text never shows the value."""


def or_refused(function: Callable[..., str], *arguments: Any) -> str:
    """Call `function` and return its result. A `ValueError` from the call becomes `Refused` with the same text."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise Refused(str(error)) from None


def printed_text(value: Any) -> str:
    """Return a text, a number or a boolean in its printed form. Raises `Refused` for null, a list or an object."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return or_refused(plain_number, value)
    if value is None:
        raise Refused("a null cannot be printed")
    raise Refused("a list or an object cannot be printed")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= NUMBER_MAX


def _number(value: Any) -> Any:
    if not _is_number(value):
        raise Refused("a filter for numbers takes a number up to 10^18")
    return value


def _places(places: Any) -> int:
    if type(places) is not int or places not in range(11):
        raise Refused("rounding takes 0 to 10 places")
    return places


def _round(value: Any, precision: Any = 0) -> Any:
    found = _rounded(value, precision, "round")
    return float(found) if precision else int(found)


def _decimals(value: Any, places: Any = 2) -> str:
    """Return the number with exactly `places` digits after the point, as in `{{ total | decimals(2) }}`."""
    return str(_rounded(value, places, "decimals"))


def _rounded(value: Any, places: Any, what: str) -> Decimal:
    try:
        return rounded(value, _places(places), what)
    except ValueError as error:
        raise Refused(str(error)) from None


def _length(value: Any) -> int:
    if not isinstance(value, (str, list, tuple, dict)):
        raise Refused("only a text, a list or a mapping has a length")
    return len(value)


def _int(value: Any, default: Any = 0, base: Any = 10) -> int:
    try:
        return int(printed_text(value), base) if isinstance(value, str) else int(_number(value))
    except (ValueError, TypeError):
        pass
    try:
        return int(float(value))
    except (ValueError, TypeError, OverflowError):
        return int(_number(default))


def _float(value: Any, default: Any = 0.0) -> float:
    try:
        return float(printed_text(value))
    except ValueError:
        return float(_number(default))


def _truncate(value: Any, length: Any = 255, killwords: Any = False, end: Any = "...", leeway: Any = 5) -> str:
    text, end = printed_text(value), printed_text(end)
    if not (_is_number(length) and _is_number(leeway)) or length < len(end):
        raise Refused("truncate takes a length that holds its end")
    if len(text) <= length + leeway:
        return text
    kept = text[: int(length) - len(end)]
    cut = kept if killwords else kept.rsplit(" ", 1)[0]
    return f"{cut}{end}"


def _urlencode(value: Any) -> str:
    text = printed_text(value)
    if 9 * len(text) > TEXT_CHARS_MAX * 4:
        raise Refused("urlencode takes a shorter text")
    return urllib.parse.quote(text, safe="/")


def _url(value: Any) -> str:
    text = printed_text(value)
    try:
        safe_url(text)
    except ValueError as error:
        raise Refused(str(error)) from None
    return text


def _scalar(value: Any) -> Any:
    if not isinstance(value, (str, int, float)):
        raise Refused(
            "a null cannot be added or multiplied" if value is None else "only texts and numbers can be added"
        )
    return value


def _index(value: Any) -> Any:
    if not isinstance(value, (str, int)):
        raise Refused("an index is a text or a whole number")
    return value


def _same(left: Any, sign: str, right: Any, *defined: bool) -> bool:
    if not all(defined):
        raise Refused("a missing variable cannot be compared")
    return bool((left == right) == (sign == "=="))


def _replace(value: Any, old: Any, new: Any) -> str:
    text, old, new = printed_text(value), printed_text(old), printed_text(new)
    if not old:
        raise Refused("replace takes a text that is not empty")
    if len(text) + text.count(old) * len(new) > TEXT_CHARS_MAX:
        raise Refused(f"a text of more than {TEXT_CHARS_MAX} characters")
    replaced: str = text.replace(old, new)
    return replaced


def _order(left: Any, sign: str, right: Any) -> bool:
    """Compare two numbers or two texts, and return the result. `sign` is `<`, `>`, `<=` or `>=`.

    Raises `Refused` for other values.
    """
    if not ((_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))):
        raise Refused(f"{sign} compares two numbers or two texts")
    return bool(_ORDERS[sign](left, right))


_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}

FILTERS: dict[str, Filter] = {
    "abs": lambda value: abs(_number(value)),
    "count": _length,
    "decimals": _decimals,
    "e": lambda value: escape(printed_text(value)),
    "escape": lambda value: escape(printed_text(value)),
    "float": _float,
    "int": _int,
    "length": _length,
    "replace": _replace,
    "round": _round,
    "string": printed_text,
    "truncate": _truncate,
    "urlencode": _urlencode,
    "_index": _index,
    "_order": _order,
    "_same": _same,
    "_scalar": _scalar,
    "_text": printed_text,
    "_url": _url,
}
"""The filters by name. A filter with a leading `_` is written into a template by `syntax`, never by an author."""

WEIGHTS: dict[Filter, int] = {_replace: 4, _urlencode: 8}
"""Filters that take longer for a character than the other filters do, and how many times as long."""

FLAT: dict[Filter, int] = {_index: 3}
"""The additional work of each call of a filter, whatever the size of its value.

The engine reads a text up to the index and charges nothing for that.
"""
