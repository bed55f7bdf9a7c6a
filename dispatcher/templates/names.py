"""Analyses the names in a template: which must have a value, and which assignments have no effect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dispatcher.templates.arguments import Item

KEYWORDS = frozenset(("and", "or", "not", "if", "else", "in", "is"))
CONSTANTS = frozenset(("true", "false", "none", "True", "False", "None"))
_NO_NAMES = KEYWORDS | CONSTANTS
_INSIDE = (("op", "."), ("op", "|"), ("name", "is"))
_MAY_LACK = (("name", "d"), ("name", "default"))


def paths(tokens: Sequence[Item]) -> tuple[str, ...]:
    """Return the dotted paths in an expression (`tokens`) that must have a value when it is rendered.

    A path that `is` tests, or that has a `default`, may be missing. So it is not returned.
    """
    if len(tokens) == 1:  # nearly every tag
        return (tokens[0][1],) if tokens[0][0] == "name" and tokens[0][1] not in _NO_NAMES else ()
    found: list[str] = []
    asked_about = set[str]()
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        before, at = tokens[at - 1] if at else ("", ""), at + 1
        if kind != "name" or text in _NO_NAMES or before in _INSIDE:
            continue
        if before == ("name", "not") and tokens[at - 3 : at - 2] == [("name", "is")]:
            continue
        path = text
        while tokens[at : at + 1] == [("op", ".")] and tokens[at + 1 : at + 2] and tokens[at + 1][0] == "name":
            path += f".{tokens[at + 1][1]}"
            at += 2
        after = tokens[at : at + 2]
        if after[:1] == [("name", "is")] or (after[:1] == [("op", "|")] and after[1:] and after[1] in _MAY_LACK):
            asked_about.add(path)
        elif after[:1] != [("op", "=")]:
            found.append(path)
    return tuple(path for path in found if path not in asked_about)


class Scopes:
    """The names that are set in the template, and the names that are set in each open loop.

    At the end of each round, a loop forgets the names that were set in it. So `{% set n = n + 1 %}` in a loop never
    counts if `n` was set outside, because each round begins with the outer `n`. Jinja has the same scopes, which
    surprise its users (pallets/jinja 641, 330, 837, 901, 1212).
    """

    def __init__(self) -> None:
        self._set: list[set[str]] = [set()]
        self._read: list[set[str]] = [set()]

    def open(self, targets: Iterable[str]) -> None:
        """Enter a loop whose variables are `targets`."""
        self._set.append(set(targets))
        self._read.append(set())

    def close(self) -> None:
        self._set.pop()
        read = self._read.pop()
        self._read[-1] |= read

    def read(self, tokens: Sequence[Item]) -> None:
        """Record the names that an expression reads."""
        self._read[-1].update(text for kind, text in tokens if kind == "name")

    def assign(self, targets: Iterable[str]) -> str | None:
        """Record that a tag assigns to the names `targets`. Call `read` with the assigned expression before.

        An assignment in a loop may have no effect after the present round, although a reader would expect one. Return
        the name of such an assignment, or None.
        """
        outer = set[str]().union(*self._set[:-1])
        lost = None
        for name in targets:
            if name in outer and name not in self._set[-1] and name in self._read[-1]:
                lost = name
            self._set[-1].add(name)
        return lost
