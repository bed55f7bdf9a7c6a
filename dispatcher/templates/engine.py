"""Renders templates with minijinja, the engine, within limits.

The engine charges fuel for each instruction and for the size of each text that it reads, and stops when no fuel is
left. The engine charges nothing for our filters, so each filter pays from a budget of its own (`WORK`). An `Engine`
object renders one part. Only one thread may use such an object at a time.
"""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import minijinja
from markupsafe import Markup, escape

from dispatcher.templates.formats import NUMBER_MAX, money, plain_number, rounded, short_date
from dispatcher.templates.html import safe_url
from dispatcher.templates.tree import Place, Tree, written

FUEL = 45_000  # a table of 500 rows of 10 cells takes 40,000; all of it is burnt in some 3 ms
WORK = 5_000  # calls of our filters, each with its size: some 4 ms
CHARS_PER_WORK = 256
TEXT_CHARS_MAX = 65_536
_NAMED = re.compile(r"`([^`]{1,200})` is undefined")

Filter = Callable[..., Any]


class Refused(Exception):
    """A filter does not accept its value, or a value cannot be printed. The message never shows the value."""


class Exhausted(Refused):
    """The work budget of our filters is used up."""


class RenderFault(Exception):
    """A part cannot be rendered, for the reason `rule`.

    `variable` is the author's expression at fault, or None if unknown.
    """

    def __init__(self, rule: str, variable: str | None = None) -> None:
        super().__init__(rule, variable)
        self.rule, self.variable = rule, variable


class Engine:
    """One compiled part of a template. With `html`, printed values are escaped."""

    def __init__(self, tree: Tree, *, html: bool) -> None:
        self._tree, self._html = tree, html
        self._kit = _Kit(tree.loops)
        self._environment = self._new_environment(FUEL)
        self._environment.add_template("t", written(tree.nodes))
        self._search: tuple[minijinja.Environment, list[Place]] | None = None

    def render(self, data: dict[str, Any]) -> str:
        """Return the part rendered with `data`. Raises `RenderFault`."""
        self._kit.work = WORK
        try:
            return self._environment.render_template("t", **data)
        except Exhausted as exhausted:
            raise RenderFault(str(exhausted)) from None
        except Refused as refused:
            raise self._refused(str(refused), data) from None
        except minijinja.TemplateError as error:
            raise self._explained(error, data) from None
        except MemoryError:  # this process has none; that says nothing of the template
            raise
        except Exception as error:  # a filter was called in a way that it does not know; its message could show a value
            place = self._fault_place(data).shown
            raise RenderFault(f"{place or 'an expression'}: a filter fails ({type(error).__name__})", place) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # the engine's own bug
                raise
            raise RenderFault("the engine failed") from None

    def _explained(self, error: minijinja.TemplateError, data: dict[str, Any]) -> RenderFault:
        if error.kind == "OutOfFuel":
            return RenderFault("it does more than a template may: its loops or texts are too long")
        if error.kind == "UndefinedError":
            named = _NAMED.search(error.message)
            name = named[1] if named else _path(self._fault_place(data).shown)
            return RenderFault(f"missing variable {name}", name)
        place = self._fault_place(data)
        return self._lacking(place, data) or RenderFault(
            f"{place.shown or 'an expression'} meets a value that it cannot take", place.shown or None
        )

    def _refused(self, rule: str, data: dict[str, Any]) -> RenderFault:
        place = self._fault_place(data)
        if not place.shown or rule.startswith("missing"):
            return RenderFault(rule, place.shown or None)
        lacking = self._lacking(place, data) if "a list" not in rule else None
        return lacking or RenderFault(f"{place.shown}: {rule}", place.shown)

    def _lacking(self, place: Place, data: dict[str, Any]) -> RenderFault | None:
        """Return the fault that a path in the place is missing in the data, or that its value is null, if one is."""
        for path in place.needs:
            found: Any = data
            for name in path.split(".") if path.partition(".")[0] not in self._tree.assigned else ():
                if not isinstance(found, dict) or name not in found:
                    return RenderFault(f"missing variable {path}", path)
                found = found[name]
            if found is None:
                rule = "a null cannot be printed" if path == place.shown else f"{path} is null"
                return RenderFault(f"{place.shown}: {rule}", path)
        return None

    def _fault_place(self, data: dict[str, Any]) -> Place:
        """Return the author's tag at which rendering fails, or an empty place if unknown.

        The part is rendered again, with code before each tag that notes the tag's place. Faults are rare, so ordinary
        renderings do without this code.
        """
        if self._search is None:
            places: list[Place] = []
            environment = self._new_environment(2 * FUEL)
            environment.add_template("t", written(self._tree.nodes, numbered=places))
            self._search = environment, places
        environment, places = self._search
        self._kit.place, self._kit.work = "", 2 * WORK
        with contextlib.suppress(Exception):
            environment.render_template("t", **data)
        return places[int(self._kit.place)] if self._kit.place else Place()

    def _new_environment(self, fuel: int) -> minijinja.Environment:
        environment = minijinja.Environment(
            fuel=fuel,
            undefined_behavior="strict",
            pycompat=False,
            debug=True,  # the error names the variable
            keep_trailing_newline=True,  # `syntax` removed the last one
            auto_escape_callback=_escapes if self._html else _escapes_nothing,
            finalizer=self._kit.printed_html if self._html else self._kit.printed,
        )
        for name in _BUILT_IN_GLOBALS:
            environment.remove_global(name)
        for name, function in self._kit.filters().items():
            environment.add_filter(name, function)
        return environment


class _Kit:
    """The functions that the engine calls: our filters, and the printing of values.

    These functions must not refer to the engine. Python cannot free a reference cycle that passes through native code.
    """

    def __init__(self, loops: list[str]) -> None:
        self._loops = loops
        self.work = 0
        self.place = ""

    # ---- what is printed

    def printed(self, value: Any) -> Any:
        return value if type(value) is str else _text(value)

    def printed_html(self, value: Any) -> Any:
        return escape(value if isinstance(value, str) else _text(value))

    # ---- filters

    def _pay(self, chars: int) -> None:
        self.work -= 1 + chars // CHARS_PER_WORK
        if self.work < 0:
            raise Exhausted("it does more than a template may: its filters run too often or on too long texts")

    def _paid(self, function: Filter) -> Filter:
        def run(value: Any, *arguments: Any, **named: Any) -> Any:
            size = len(value) if isinstance(value, (str, list, dict)) else 0
            self._pay(size * _WEIGHTS.get(function, 1) + _FLAT.get(function, 0) * CHARS_PER_WORK)
            return function(value, *arguments, **named)

        return run

    def filters(self) -> dict[str, Filter]:
        own = {name: self._paid(function) for name, function in _FILTERS.items()}
        own["join"] = self._join
        own["money"] = _with_state(self._money)
        own["date"] = _with_state(self._date)
        own["_list"] = self._list
        own["_at"] = self._at
        return own

    def _at(self, place: Any) -> Markup:
        self.place = str(place)
        return Markup("")

    def _list(self, value: Any, loop: int) -> Any:
        self._pay(0)
        if isinstance(value, (list, tuple)):
            return value
        shown = self._loops[loop]
        if value is None:
            raise Refused(f"missing variable {shown}: it is absent or null, and a loop needs a list")
        raise Refused(f"{shown} is no list; to loop over a mapping, use items")

    def _join(self, value: Any, d: Any = "") -> str:
        if not isinstance(value, (list, tuple)):
            raise Refused("only a list can be joined")
        self._pay(64 * len(value))
        separator = _text(d)
        parts = [_text(item) for item in value]
        chars = sum(map(len, parts)) + len(separator) * len(parts)
        if chars > TEXT_CHARS_MAX:
            raise Refused(f"a text of more than {TEXT_CHARS_MAX} characters")
        self._pay(chars)
        return str.join(separator, parts)

    def _money(self, state: Any, value: Any, currency: Any = None) -> str:
        self._pay(4 * CHARS_PER_WORK)
        return _or_refused(money, value, currency, state.lookup("locale"))

    def _date(self, state: Any, value: Any) -> str:
        self._pay(4 * CHARS_PER_WORK)
        return _or_refused(short_date, value, state.lookup("locale"))


def _with_state(method: Filter) -> Filter:
    def run(state: Any, *arguments: Any) -> Any:
        return method(state, *arguments)

    return minijinja.pass_state(run)


def _escapes(name: str) -> str:
    return "html"


def _escapes_nothing(name: str) -> None:
    return None


def _path(shown: str) -> str:
    """Return the dotted path that begins the expression `shown`, such as `order.id` in `order.id | upper`."""
    match = re.match(r"\w+(?:\.\w+)*", shown)
    return match[0] if match else shown or "(unknown)"


def _or_refused(function: Callable[..., str], *arguments: Any) -> str:
    try:
        return function(*arguments)
    except ValueError as error:
        raise Refused(str(error)) from None


def _text(value: Any) -> str:
    """Return a text, a number or a boolean in its printed form. Raises `Refused` for null, a list or an object."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _or_refused(plain_number, value)
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
        return int(_text(value), base) if isinstance(value, str) else int(_number(value))
    except (ValueError, TypeError):
        pass
    try:
        return int(float(value))
    except (ValueError, TypeError, OverflowError):
        return int(_number(default))


def _float(value: Any, default: Any = 0.0) -> float:
    try:
        return float(_text(value))
    except ValueError:
        return float(_number(default))


def _truncate(value: Any, length: Any = 255, killwords: Any = False, end: Any = "...", leeway: Any = 5) -> str:
    text, end = _text(value), _text(end)
    if not (_is_number(length) and _is_number(leeway)) or length < len(end):
        raise Refused("truncate takes a length that holds its end")
    if len(text) <= length + leeway:
        return text
    kept = text[: int(length) - len(end)]
    cut = kept if killwords else kept.rsplit(" ", 1)[0]
    return f"{cut}{end}"


def _urlencode(value: Any) -> str:
    text = _text(value)
    if 9 * len(text) > TEXT_CHARS_MAX * 4:
        raise Refused("urlencode takes a shorter text")
    return urllib.parse.quote(text, safe="/")


def _url(value: Any) -> str:
    text = _text(value)
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
    text, old, new = _text(value), _text(old), _text(new)
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
_FILTERS: dict[str, Filter] = {
    "abs": lambda value: abs(_number(value)),
    "count": _length,
    "decimals": _decimals,
    "e": lambda value: escape(_text(value)),
    "escape": lambda value: escape(_text(value)),
    "float": _float,
    "int": _int,
    "length": _length,
    "replace": _replace,
    "round": _round,
    "string": _text,
    "truncate": _truncate,
    "urlencode": _urlencode,
    "_index": _index,
    "_order": _order,
    "_same": _same,
    "_scalar": _scalar,
    "_text": _text,
    "_url": _url,
}
_WEIGHTS: dict[Filter, int] = {_replace: 4, _urlencode: 8}  # they take that much longer for a character
_FLAT: dict[Filter, int] = {_index: 3}  # the engine walks a text up to the index, and does not charge for it
_BUILT_IN_GLOBALS = ("range", "dict", "debug", "namespace", "cycler", "joiner", "lipsum")
