"""Checks the arguments of filters when a template compiles.

The engine would find a wrong argument only while it renders, for each trigger that uses the template. Some filters of
the engine know arguments only by position, so keywords are turned into positions.
"""

from __future__ import annotations

Item = tuple[str, str]

# fmt: off
# Names of the arguments in order, and how many of them are needed. The names are Jinja's.
SIGNATURES: dict[str, tuple[tuple[str, ...], int]] = {
    "d": (("default_value", "boolean"), 0), "default": (("default_value", "boolean"), 0), "decimals": (("places",), 0),
    "dictsort": (("case_sensitive", "by", "reverse"), 0), "float": (("default",), 0), "int": (("default", "base"), 0),
    "join": (("d",), 0), "money": (("currency",), 1), "replace": (("old", "new"), 2), "round": (("precision",), 0),
    "trim": (("chars",), 0), "truncate": (("length", "killwords", "end", "leeway"), 0),
}
# fmt: on
_BY_POSITION = ("d", "default", "trim")
"""The engine's filters that know arguments only by position. A missing argument before a given one becomes `_EMPTY`."""
_BY_KEYWORD = ("dictsort",)
_EMPTY = [("string", '""')]


def ordered(name: str, arguments: list[list[Item]]) -> list[list[Item]]:
    """Return the arguments of the filter `name` in the form that the engine needs.

    Raises ValueError with one sentence if an argument is wrong, missing or given twice.
    """
    names, needed = SIGNATURES.get(name, ((), 0))
    given: dict[str, list[Item]] = {}
    named = False
    for index, argument in enumerate(arguments):
        keyword = argument[0][1] if argument[1:2] == [("op", "=")] and argument[0][0] == "name" else None
        named = named or keyword is not None
        if named and keyword is None:
            raise ValueError(f"the filter {name} has an argument without a name behind one with a name")
        if keyword is None and index >= len(names):
            raise ValueError(f"the filter {name} takes {_count(len(names))}")
        wanted = keyword or names[index]
        if wanted not in names or wanted in given:
            raise ValueError(f"the filter {name} takes no argument {wanted}" + (" twice" if wanted in given else ""))
        given[wanted] = argument[2:] if keyword else argument
    if lacking := [wanted for wanted in names[:needed] if wanted not in given]:
        raise ValueError(f"the filter {name} needs the argument {lacking[0]}")
    return _written(name, names, given)


def _written(name: str, names: tuple[str, ...], given: dict[str, list[Item]]) -> list[list[Item]]:
    last = max((names.index(wanted) for wanted in given), default=-1)
    if name in _BY_POSITION:
        return [given.get(wanted, _EMPTY) for wanted in names[: last + 1]]
    whole = [wanted for wanted in names[: last + 1] if wanted in given] == list(names[: last + 1])
    if whole and name not in _BY_KEYWORD:
        return [given[wanted] for wanted in names[: last + 1]]
    return [[("name", wanted), ("op", "="), *argument] for wanted, argument in given.items()]


def _count(number: int) -> str:
    return {0: "no argument", 1: "one argument"}.get(number, f"at most {number} arguments")
