"""Renders templates with minijinja, the engine, within limits.

The engine charges fuel for each instruction and for the size of each text that it reads, and stops when no fuel is
left. The engine charges nothing for our filters, so each filter pays from a budget of its own (`WORK`). An `Engine`
object renders one part. Only one thread may use such an object at a time.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import minijinja
from markupsafe import Markup, escape

from dispatcher.core.json_object import JsonObject
from dispatcher.templates.filters import (
    FILTERS,
    FLAT,
    TEXT_CHARS_MAX,
    WEIGHTS,
    Filter,
    Refused,
    or_refused,
    printed_text,
)
from dispatcher.templates.formats import money, short_date
from dispatcher.templates.tree import Place, Tree, written

FUEL = 45_000  # a table of 500 rows of 10 cells needs 40,000; using all of it takes some 3 ms
WORK = 5_000  # calls of our filters, each with its size: some 4 ms
CHARS_PER_WORK = 256
_BUILT_IN_GLOBALS = ("range", "dict", "debug", "namespace", "cycler", "joiner", "lipsum")
_NAMED = re.compile(r"`([^`]{1,200})` is undefined")


class Exhausted(Refused):
    """The work budget of our filters is used up."""


class RenderFault(Exception):
    """A part of a template cannot be rendered. `rule` is the reason.

    `variable` is the author's expression at fault, or None if that is not known.
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

    def render(self, data: JsonObject) -> str:
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
        except MemoryError:  # the process has no memory left, so the template is not at fault
            raise
        except Exception as error:  # a filter was called in a way that it does not know; its message could show a value
            place = self._fault_place(data).shown
            raise RenderFault(f"{place or 'an expression'}: a filter fails ({type(error).__name__})", place) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # PanicException is a bug in the engine
                raise
            raise RenderFault("the engine failed") from None

    def _explained(self, error: minijinja.TemplateError, data: JsonObject) -> RenderFault:
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

    def _refused(self, rule: str, data: JsonObject) -> RenderFault:
        place = self._fault_place(data)
        if not place.shown or rule.startswith("missing"):
            return RenderFault(rule, place.shown or None)
        lacking = self._lacking(place, data) if "a list" not in rule else None
        return lacking or RenderFault(f"{place.shown}: {rule}", place.shown)

    def _lacking(self, place: Place, data: JsonObject) -> RenderFault | None:
        """Return the fault if `data` has no value for a path that `place` needs, such as `order.total`. Return None if
        every path has a value.

        A missing value and a null are faults. A path is not checked if the template itself assigns its first name.
        """
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

    def _fault_place(self, data: JsonObject) -> Place:
        """Return the author's tag at which rendering fails, or an empty place if unknown.

        The part is rendered again. Each tag is preceded by code that notes the tag's place. Faults are rare, so
        ordinary renderings do without this code.
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
    """The functions that the compiled template may call: our filters, and the printing of values.

    These functions must not refer to the engine. Python cannot free a reference cycle that passes through native code.
    """

    def __init__(self, loops: list[str]) -> None:
        self._loops = loops
        self.work = 0
        self.place = ""

    # ---- what is printed

    def printed(self, value: Any) -> Any:
        return value if type(value) is str else printed_text(value)

    def printed_html(self, value: Any) -> Any:
        return escape(value if isinstance(value, str) else printed_text(value))

    # ---- filters

    def _pay(self, chars: int) -> None:
        self.work -= 1 + chars // CHARS_PER_WORK
        if self.work < 0:
            raise Exhausted("it does more than a template may: its filters run too often or on too long texts")

    def _paid(self, function: Filter) -> Filter:
        def run(value: Any, *arguments: Any, **named: Any) -> Any:
            size = len(value) if isinstance(value, (str, list, dict)) else 0
            self._pay(size * WEIGHTS.get(function, 1) + FLAT.get(function, 0) * CHARS_PER_WORK)
            return function(value, *arguments, **named)

        return run

    def filters(self) -> dict[str, Filter]:
        own = {name: self._paid(function) for name, function in FILTERS.items()}
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

    def _join(self, value: Any, d: Any = "", *, separator: Any = None) -> str:
        d = d if separator is None else separator  # its name in texts that an earlier release stored
        if not isinstance(value, (list, tuple)):
            raise Refused("only a list can be joined")
        self._pay(64 * len(value))
        separator = printed_text(d)
        parts = [printed_text(item) for item in value]
        chars = sum(map(len, parts)) + len(separator) * len(parts)
        if chars > TEXT_CHARS_MAX:
            raise Refused(f"a text of more than {TEXT_CHARS_MAX} characters")
        self._pay(chars)
        return str.join(separator, parts)

    def _money(self, state: Any, value: Any, currency: Any = None) -> str:
        self._pay(4 * CHARS_PER_WORK)
        return or_refused(money, value, currency, state.lookup("locale"))

    def _date(self, state: Any, value: Any) -> str:
        self._pay(4 * CHARS_PER_WORK)
        return or_refused(short_date, value, state.lookup("locale"))


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
