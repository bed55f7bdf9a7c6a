"""A template as a tree: static text, tags in canonical form, and blocks with their branches.

`syntax.parse` makes the tree, `html` reads it, and `written` makes the engine's source of it. Text that looks like a
tag is written so that the engine does not read it as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LIKE_A_TAG = re.compile(r"\{(?=[{%#]|\Z)")


class SyntaxFault(Exception):
    """The reason why a template does not compile. It is shown to the author."""

    def __init__(self, line: int, rule: str) -> None:
        super().__init__(line, rule)
        self.line, self.rule = line, rule

    def __str__(self) -> str:
        return f"line {self.line}: {self.rule}"


@dataclass(slots=True)
class Text:
    """Static text, as it will be sent."""

    text: str
    line: int


@dataclass(slots=True)
class Print:
    """One `{{ … }}`. `shown` is the expression as the author wrote it; `url` makes the engine check its scheme."""

    shown: str
    code: str
    line: int
    url: bool = False


@dataclass(slots=True)
class Statement:
    """A tag that neither prints nor branches (`set`)."""

    code: str
    line: int


@dataclass(slots=True)
class Block:
    """An `if` or a `for`. Each branch is the tag that opens it, and its nodes. `always`: one branch always runs."""

    kind: str
    line: int
    branches: list[tuple[str, list[Node]]] = field(default_factory=list)
    always: bool = False


Node = Text | Print | Statement | Block


@dataclass(slots=True)
class Tree:
    """A parsed part, and its loop expressions. Their index is the number that the engine tells if one is no list."""

    nodes: list[Node]
    loops: list[str]


def written(nodes: list[Node], *, numbered: list[str] | None = None) -> str:
    """Return the engine's source. With `numbered`, each tag first tells its place, which is its index in that list."""
    pieces: list[str] = []
    _write(nodes, pieces, numbered)
    return "".join(pieces)


def _write(nodes: list[Node], pieces: list[str], numbered: list[str] | None) -> None:
    for node in nodes:
        if isinstance(node, Text):
            pieces.append(_LIKE_A_TAG.sub('{{"{"}}', node.text))
            continue
        if numbered is not None:
            numbered.append(node.shown if isinstance(node, Print) else "")
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
