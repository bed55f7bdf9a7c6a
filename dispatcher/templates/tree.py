"""A template as a tree: static text, tags in canonical form, and blocks with their branches.

`syntax.parse` builds the tree, `html` checks the expressions in it, and `written` turns it into source for the engine.
Static text that looks like a tag is written so that the engine does not read it as a tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

_LIKE_A_TAG = re.compile(r"\{(?=[{%#]|\Z)")


class SyntaxFault(Exception):
    """A template does not compile. `rule` is the reason, and `line` is the line of the template.

    Both are shown to the template's author.
    """

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(line, rule)
        self.line, self.rule = line, rule

    def __str__(self) -> str:
        return f"line {self.line}: {self.rule}"


@dataclass(slots=True)
class Text:
    """Static text of a template. It is sent unchanged."""

    text: str
    line: int


@dataclass(slots=True)
class Print:
    """A tag `{{ … }}`, which prints a value. `shown` is the author's expression, `code` its canonical form.

    With `url`, the printed value is checked as a URL when it is rendered. `needs` are the paths that must have a value
    for this expression.
    """

    shown: str
    code: str
    line: int
    url: bool = False
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class Statement:
    """A tag that neither prints nor branches: `set`. `shown` is the author's tag.

    `needs` are the paths that must have a value for this tag.
    """

    code: str
    line: int
    shown: str = ""
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class Block:
    """An `if` or a `for`. Each branch is a pair of its opening tag and the nodes after that tag.

    `always` is True if there is an `else`, so that one of the branches always runs. `shown` is the first tag as the
    author wrote it. `needs` are the variables' paths that must have a value for the first tag.
    """

    kind: str
    line: int
    branches: list[tuple[str, list[Node]]] = field(default_factory=list)
    always: bool = False
    shown: str = ""
    needs: tuple[str, ...] = ()


Node = Text | Print | Statement | Block


@dataclass(slots=True)
class Tree:
    """A parsed part. `loops` holds the expressions of its loops, in the order of the source.

    If a loop's value is not a list, the error names the expression by its index in `loops`. `assigned` are the names to
    which the part itself gives values.
    """

    nodes: list[Node]
    loops: list[str]
    assigned: frozenset[str] = frozenset()


class Place(NamedTuple):
    """An expression or a tag as its author wrote it, and the paths that must have a value for it."""

    shown: str = ""
    needs: tuple[str, ...] = ()


def written(nodes: list[Node], *, numbered: list[Place] | None = None) -> str:
    """Return `nodes` as source for the engine.

    With `numbered`, every tag gets a number, so that an error can name its place. The number is the index at which the
    place of the tag is appended to `numbered`. Before the tag, the source calls the filter `_at` with this number.
    """
    pieces: list[str] = []
    _write(nodes, pieces, numbered)
    return "".join(pieces)


def _write(nodes: list[Node], pieces: list[str], numbered: list[Place] | None) -> None:
    for node in nodes:
        if isinstance(node, Text):
            pieces.append(_LIKE_A_TAG.sub('{{"{"}}', node.text))
            continue
        if numbered is not None:
            numbered.append(Place(node.shown, node.needs))
            pieces.append(f"{{{{{len(numbered) - 1}|_at}}}}")
        if isinstance(node, Print):
            pieces.append(f"{{{{ ({node.code})|_url }}}}" if node.url else f"{{{{ {node.code} }}}}")
        elif isinstance(node, Statement):
            pieces.append(f"{{%{node.code}%}}")
        else:
            for opening, body in node.branches:
                pieces.append(f"{{%{opening}%}}")
                _write(body, pieces, numbered)
            pieces.append(f"{{%end{node.kind}%}}")
