"""The error of a request that breaks a rule, made of the first fault that pydantic found.

The error names the field by its dotted path, and states the rule as the rest of a sentence that begins with the field.
The error never repeats a value, because an address in an error would get into logs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from dispatcher.errors import CallerError

_PATH_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,40}")

_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_unicode": "must be valid Unicode",
    "string_type": "must be a string",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "list_type": "must be a list",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}


def _parts(loc: Sequence[str | int]) -> list[str]:
    """Return the parts of a field's dotted path.

    An item of the list `recipients` is a single part, such as `recipients[3]`. In every other list, the index is a part
    of its own.
    """
    if loc[:1] == ("recipients",) and len(loc) > 1:
        return [f"recipients[{loc[1]}]", *(str(part) for part in loc[2:])]
    return [str(part) for part in loc]


def broken_rule(error: ValidationError, pattern_rules: Mapping[str, str]) -> CallerError:
    """Return the error for the first rule that a request breaks.

    `pattern_rules` has the rule of each pattern in our own words. An unknown field is named only if its name looks like
    a name, because it could also be an address.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    parts = _parts(first["loc"])
    if first["type"] == "extra_forbidden" and not _PATH_PART.fullmatch(parts[-1]):
        return CallerError(".".join(parts[:-1]) or "body", "must contain known fields only")
    context = first.get("ctx", {})
    sentence = _SENTENCES.get(first["type"]) or pattern_rules.get(context.get("pattern", ""))
    rule = sentence.format_map(context) if sentence else first["msg"]
    return CallerError(".".join(parts) or "body", rule)
