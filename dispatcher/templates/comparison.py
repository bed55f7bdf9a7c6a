"""Rewrites the comparisons and sums in a template, so that their operands go through our filters before the engine uses
them.

The filters refuse operands that the engine accepts and should not. The engine compares values of any two types. It
charges no fuel, its measure of work, for the length of what it compares. It also repeats a list for `*`, and joins
lists for `+` and `~`.
"""

from __future__ import annotations

import re

from dispatcher.templates.arguments import Item
from dispatcher.templates.names import KEYWORDS

_SHORT = re.compile(r"[\d.]+|\"[^\"]{0,64}\"|true|false|none", re.I)
_ORDERS = ("<", ">", "<=", ">=")


def concatenated(operand: list[str]) -> str:
    """Return the code of one operand of a comparison. A filter is put around each operand of `+`, `*` and `~` in it.

    The filter for `+` and `*` refuses everything but texts and numbers. The filter for `~` returns the printed form of
    a value.
    """
    if not {"~", "+", "*"} & set(operand):
        return " ".join(operand)
    sums = _split(operand, ("~", "+", "-"))
    pieces = [
        piece if i % 2 else [_wrapped(_split(piece, ("*", "/", "//", "%")), "*", "_scalar")]
        for i, piece in enumerate(sums)
    ]
    for sign, name in (("+", "_scalar"), ("~", "_text")):
        pieces = [[_beside(pieces, i, sign, name)] for i in range(len(pieces))]
    return " ".join(piece[0] for piece in pieces)


def _split(items: list[str], signs: tuple[str, ...]) -> list[list[str]]:
    """Split a list of tokens at the signs in `signs`. Return an operand, a sign, an operand and so on.

    A minus sign directly after another sign is part of the operand that follows.
    """
    pieces: list[list[str]] = [[]]
    for text in items:
        if text in signs and pieces[-1] and pieces[-1][-1] not in ("*", "/", "//", "%"):
            pieces += [[text], []]
        else:
            pieces[-1].append(text)
    return pieces


def _wrapped(pieces: list[list[str]], sign: str, name: str) -> str:
    return " ".join(_beside(pieces, i, sign, name) for i in range(len(pieces)))


def _beside(pieces: list[list[str]], at: int, sign: str, name: str) -> str:
    """Return the piece at index `at` of a sum or product as code.

    `pieces` are operands and signs in turn. If `sign` stands directly before or after the piece, the code passes the
    piece through the filter `name`.
    """
    text = " ".join(pieces[at])
    operand = at % 2 == 0 and (pieces[at - 1 : at] == [[sign]] or pieces[at + 1 : at + 2] == [[sign]])
    return f"({text})|{name}" if operand else text


def chain(operands: list[str], signs: list[str]) -> str:
    if not signs:
        return operands[0]
    pairs = [_pair(left, sign, right) for left, sign, right in zip(operands, signs, operands[1:], strict=False)]
    return f"({' and '.join(pairs)})"


def _pair(left: str, sign: str, right: str) -> str:
    if sign in _ORDERS:
        return f'({left})|_order("{sign}",({right}))'
    if sign in ("==", "!=") and not any(_SHORT.fullmatch(side) for side in (left, right)):
        # The engine does not charge for the length of what it compares; a filter sees an undefined value as a null.
        return f'({left})|_same("{sign}",({right}),({left}) is defined,({right}) is defined)'
    return f"({left}) {sign} ({right})"


def compared(items: list[Item]) -> str:
    """Return the code for `items`, the tokens between two brackets. Every comparison in it is rewritten by the function
    `chain`.

    The words `and`, `or`, `not`, `if`, `else` and the sign `=` end a comparison.
    """
    pieces: list[str] = []
    operands: list[list[str]] = [[]]
    signs: list[str] = []

    def close() -> None:
        pieces.append(chain([concatenated(operand) for operand in operands], signs))
        operands[:] = [[]]
        signs.clear()

    for i, (kind, text) in enumerate(items):
        before = items[i - 1] if i else ("", "")
        if (kind, text) == ("name", "not") and items[i + 1 : i + 2] == [("name", "in")]:
            continue
        if kind == "op" and text in ("<", ">", "<=", ">=", "==", "!="):
            signs.append(text)
            operands.append([])
        elif (kind, text) == ("name", "in"):
            signs.append("not in" if before == ("name", "not") else "in")
            operands.append([])
        elif kind == "name" and text in KEYWORDS and text != "is" and before != ("name", "is"):
            close()
            pieces.append(text)
        elif (kind, text) == ("op", "="):
            close()
            pieces.append("=")
        else:
            operands[-1].append(text)
    close()
    lacking = pieces.count("if") - pieces.count("else")
    return " ".join([piece for piece in pieces if piece] + ['else ""'] * lacking)


def split_items(items: list[Item], separator: str) -> list[list[Item]]:
    """Return the parts of `items` between the operators `separator`."""
    parts: list[list[Item]] = [[]]
    for item in items:
        if item == ("op", separator):
            parts.append([])
        else:
            parts[-1].append(item)
    return parts
