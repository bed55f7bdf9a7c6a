"""Regular expressions that operators write, for an engine whose run time is limited.

Python's `re` backtracks: `(a+)+$` needs 2^n steps for n letters and an exclamation mark, and no other task of the event
loop runs meanwhile. So operators' expressions run on the engine of Rust's `regex` crate, which comes with pydantic. The
time of this engine is at most proportional to the length of the text times the size of the compiled expression. The
engine has no look-around and no backreferences. `config check` refuses both by name.
"""

from __future__ import annotations

import re
from math import prod

from pydantic_core import SchemaError, SchemaValidator
from pydantic_core.core_schema import str_schema

COUNTS_MAX = 200
"""The greatest product of all counts in braces, such as 30 for `a{5}b{6}`. A higher product would be slow."""

_COUNT = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")


class RulePattern:
    """A compiled expression. A search ignores the case of letters, and finds a match anywhere in a text."""

    __slots__ = ("_engine",)

    def __init__(self, expression: str) -> None:
        """Compile `expression`.

        Raises ValueError with one sentence if the engine cannot compile the expression or would be slow with it.
        """
        if prod(_most(low, high) for low, high in _COUNT.findall(expression)) > COUNTS_MAX:
            raise ValueError(
                f"must not repeat so often; the product of the counts in braces may be {COUNTS_MAX} at most"
            )
        try:
            self._engine = SchemaValidator(str_schema(pattern=f"(?i){expression}", regex_engine="rust-regex"))
        except SchemaError as error:
            raise ValueError(f"must be a regular expression: {_reason(str(error))}") from None

    def search(self, text: str) -> bool:
        """Return True if the expression matches any part of `text`.

        A lone surrogate is read as a question mark.
        """
        return self._engine.isinstance_python(text.encode("utf-8", "replace").decode())


def _most(low: str, high: str) -> int:
    return max(int((high or low)[:6] or 1), 1)


def _reason(said: str) -> str:
    """Return the last line of the engine's error text. The lines before it repeat the expression and mark the fault."""
    return said.rsplit("\n", 1)[-1].strip().removeprefix("error: ").removeprefix("SchemaError: ").rstrip(".")
