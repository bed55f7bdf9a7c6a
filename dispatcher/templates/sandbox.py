"""What a template may do, and how much of it.

Jinja's sandbox keeps templates away from Python; it bounds neither memory nor time, and it lets attributes and methods
of whatever is passed be used. Here the language itself is smaller:

* only the node types, filters and tests listed below compile; there are no calls at all, so no `range`, no macros and
  no methods (`ljust(50000000)` has no spelling);
* an attribute is a key of a dict, or one of the loop's counters; nothing else has any;
* strings grow through `+`, `~`, `join` and `replace` alone, and each stops at `STRING_CHARS_MAX`; `*` is for numbers,
  `**` is gone; a sequence cannot be built from variables, so none can contain itself doubled;
* loops draw from one budget per rendering, each turn costing the size of the loop's body.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes, pass_context, pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS, do_dictsort, do_items, do_urlencode
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

STRING_CHARS_MAX = 65_536
NUMBER_MAX = 10**18
LOOP_BUDGET = 20_000  # nodes run in loops: a table of 500 rows of 10 cells; at worst, on long texts, 0.3 s
BUDGET_KEY = " budget"  # no template can spell a name with a space

Scalar = (str, int, float, bool)

# fmt: off
_ALLOWED_NODES = frozenset((
    "Template", "Output", "TemplateData", "Const", "Name", "Getattr", "Getitem", "Slice", "Filter", "Test",
    "If", "For", "CondExpr", "Compare", "Operand", "And", "Or", "Not", "Neg", "Pos", "Add", "Sub", "Mul", "Div",
    "FloorDiv", "Mod", "Concat", "Assign", "List", "Tuple", "Keyword",
))
_ALLOWED_FILTERS = frozenset((
    "abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "last", "length",
    "lower", "string", "title", "trim", "truncate", "upper",
))
_ALLOWED_TESTS = frozenset((
    "defined", "undefined", "none", "string", "number", "mapping", "sequence", "boolean", "true", "false", "in",
    "eq", "ne", "lt", "le", "gt", "ge", "odd", "even",
))
_LOOP_ATTRIBUTES = frozenset((
    "index", "index0", "revindex", "revindex0", "first", "last", "length",
))
# fmt: on


class Missing(StrictUndefined):
    """Fails with the name the template wrote; a name that was computed could be data, and is not told."""

    @property
    def _undefined_message(self) -> str:
        return f"missing variable {self._undefined_name or '(a computed name)'}"

    def fail(self) -> Any:
        return self._fail_with_undefined_error()


class Sandbox(ImmutableSandboxedEnvironment):
    """Dict keys instead of attributes, bounded operators. `autoescape` is for the HTML part only."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self, autoescape: bool) -> None:
        super().__init__(undefined=Missing, autoescape=autoescape, optimized=False, finalize=_printable)
        self.globals.clear()
        self.filters = {name: FILTERS[name] for name in _ALLOWED_FILTERS} | _OWN_FILTERS
        self.tests = {name: TESTS[name] for name in _ALLOWED_TESTS}

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """There are none. Jinja's own chain of two empty maps is walked in Python at every rendering."""
        return dict(d or {})

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, LoopContext) and attribute in _LOOP_ATTRIBUTES:
            return getattr(obj, attribute)
        return self._item(obj, attribute, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._item(obj, argument, None)

    def _item(self, obj: Any, key: Any, name: str | None) -> Any:
        if isinstance(obj, Missing):
            return obj.fail()
        if isinstance(obj, dict) or (isinstance(obj, (list, tuple, str)) and type(key) is int):
            try:
                return obj[key]
            except (LookupError, TypeError):
                pass
        return self.undefined(obj=obj, name=name)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return bounded_operation(operator, left, right)


def _printable(value: Any) -> Any:
    """What may be printed: text and numbers. A null is a missing value, and a list is never a message."""
    if isinstance(value, (*Scalar, Undefined)):
        return value
    raise SecurityError("a null cannot be printed" if value is None else "a list or an object cannot be printed")


# Operators and filters with bounds -----------------------------------------------------------------------------------

_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


def bounded_operation(symbol: str, left: Any, right: Any) -> Any:
    """Numbers up to `NUMBER_MAX`, and texts added up to `STRING_CHARS_MAX`."""
    if isinstance(left, str) and isinstance(right, str) and symbol == "+":
        _bounded(len(left) + len(right))
        return left + right
    for operand in (left, right):
        if isinstance(operand, Missing):
            operand.fail()
        if not isinstance(operand, (int, float)) or abs(operand) > NUMBER_MAX:
            raise SecurityError(f"{symbol} takes numbers up to 10^18")
    result = _OPERATIONS[symbol](left, right)
    if abs(result) > NUMBER_MAX:
        raise SecurityError(f"{symbol} gives a number beyond 10^18")
    return result


def _bounded(chars: int) -> None:
    if chars > STRING_CHARS_MAX:
        raise SecurityError(f"a text of more than {STRING_CHARS_MAX} characters")


def _text(value: Any) -> str:
    """A scalar as text, still marked as escaped when it was."""
    if isinstance(value, Missing):
        value.fail()
    if not isinstance(value, Scalar):
        raise SecurityError("only texts and numbers can be joined")
    return value if isinstance(value, str) else str(value)


@pass_eval_context
def _join(context: EvalContext, value: Iterable[Any], separator: str = "") -> str:
    parts = [_text(item) for item in _listed(value)]
    separator = _text(separator)
    if context.autoescape:
        parts, separator = [escape(part) for part in parts], escape(separator)
    _bounded(sum(map(len, parts)) + len(separator) * len(parts))
    joined = separator.join(parts)
    return Markup(joined) if context.autoescape else joined


@pass_eval_context
def _concat(context: EvalContext, *values: Any) -> str:
    return _join(context, list(values))


@pass_eval_context
def _replace(context: EvalContext, value: Any, old: str, new: str) -> str:
    text, old, new = _text(value), _text(old), _text(new)
    if context.autoescape:
        text, old, new = escape(text), escape(old), escape(new)
    if not old:
        raise SecurityError("replace takes a text that is not empty")
    _bounded(len(text) + str.count(text, old) * len(new))
    return text.replace(old, new)


def _urlencode(value: Any) -> str:
    text = _text(value)
    _bounded(9 * len(text))  # three bytes to a character, three characters to a byte
    return do_urlencode(text)


def _round(value: Any, places: int = 0) -> Any:
    _check_number(value, places)
    return round(value, places) if places else round(value)


def _decimals(value: Any, places: int = 2) -> str:
    """`{{ total | decimals(2) }}`: always that many places, for amounts."""
    _check_number(value, places)
    return f"{value:.{places}f}"


def _check_number(value: Any, places: Any) -> None:
    if isinstance(value, Missing):
        value.fail()
    if not isinstance(value, (int, float)) or abs(value) > NUMBER_MAX or places not in range(11):
        raise SecurityError("rounding takes a number up to 10^18 and 0 to 10 places")


def _listed(value: Any) -> list[Any]:
    if isinstance(value, Missing):
        value.fail()
    if not isinstance(value, (list, tuple)):
        raise SecurityError("only a list can be looped over or joined; for a dict, use items")
    return list(value)


def _items(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Missing):
        value.fail()
    return list(do_items(value))


def _dictsort(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return do_dictsort(value)


@pass_context
def _loop(context: Context, value: Any, body_nodes: int) -> list[Any]:
    """The list a loop runs over, paid for."""
    items = _listed(value)
    budget: list[int] = context[BUDGET_KEY]
    budget[0] -= len(items) * body_nodes
    if budget[0] < 0:
        raise SecurityError("its loops run too often")
    return items


_OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "join": _join,
    "replace": _replace,
    "urlencode": _urlencode,
    "round": _round,
    "decimals": _decimals,
    "items": _items,
    "dictsort": _dictsort,
    " concat": _concat,
    " loop": _loop,
}


# The language --------------------------------------------------------------------------------------------------------


class Restrict(NodeTransformer):
    """Refuses what is not on the lists and puts the bounded forms in place. Errors: `SecurityError` with a line."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        kind = type(node).__name__
        if kind not in _ALLOWED_NODES:
            raise _refused(node, kind)
        return super().generic_visit(node, *args, **kwargs)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        if node.node is None or (node.name not in _ALLOWED_FILTERS and node.name not in _OWN_FILTERS):
            raise _refused(node, f"the filter {node.name}")
        return self.generic_visit(node)

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        if node.name not in _ALLOWED_TESTS:
            raise _refused(node, f"the test {node.name}")
        return self.generic_visit(node)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._literal(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self.generic_visit(node) if node.ctx == "store" else self._literal(node)

    def _literal(self, node: nodes.List | nodes.Tuple) -> nodes.Node:
        if not all(isinstance(item, nodes.Const) for item in node.items):
            raise _refused(node, "a list of anything but constants")
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """A constant key is an attribute, which has a name to tell when it is missing."""
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            return nodes.Getattr(node.node, node.arg.value, node.ctx, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node.nodes[0], " concat", node.nodes[1:])

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise _refused(node, "a recursive loop")
        weight = 1 + sum(1 for child in node.body for _ in child.find_all(nodes.Node))
        self.generic_visit(node)
        node.iter = _filter(node.iter, " loop", [nodes.Const(weight, lineno=node.lineno)])
        return node


def _refused(node: nodes.Node, what: str) -> SecurityError:
    return SecurityError(f"line {node.lineno or 1}: {what} is not available in templates")


def _filter(node: nodes.Node, name: str, arguments: Sequence[nodes.Expr]) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)
