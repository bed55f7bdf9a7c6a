"""The texts of configuration faults. A text gives the field, its value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

RULES = {
    "string_type": "must be a text, and a number, true, false or null needs quotes to be one",
    "string_unicode": "holds half of a surrogate pair, which is no character",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "mapping_type"), "must be a mapping"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list"),
}
"""Our sentences for the types of error whose own text names a type of Python, or not what is right."""


def describe(error: ErrorDetails, root: type[BaseModel]) -> str:
    """Return one line for an error of pydantic: the field, its value and what is allowed.

    `root` is the model that was validated. Three kinds of values are not shown, because they may be secrets: a value
    inside `options`, an address in `store.cells`, and the value of an unknown field.
    """
    loc = error["loc"]
    if error["type"] == "extra_forbidden":  # the value is not shown: it may be a secret in the wrong place
        return f"{dotted(loc)}: is not a known field; allowed: {names(_model_at(loc[:-1], root))}"
    if error["type"] == "missing":
        return f"{dotted(loc)}: is missing, but it is required"
    if error["input"] is None and loc[-1:] != ("[key]",):
        return f"{dotted(loc)}: has no value; give it one, or leave the field out"
    secret = "options" in loc or loc[:2] == ("store", "cells")
    value = "a value not shown" if secret else shown(error["input"])
    rule = RULES.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
    if loc[-1:] == ("[key]",):
        return f"{dotted(loc[:-1])}: the name {value} is not allowed: {rule}"
    return f"{dotted(loc)}: {value} is not allowed: {rule}"


def _model_at(loc: tuple[str | int, ...], root: type[BaseModel]) -> type[BaseModel] | None:
    """Return the model that is the type of the field at `loc` below `root`, or None if the type is no model."""
    model: Any = root
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            model = field.annotation if field else None
        else:  # dict[name, X] or list[X]: the key or index leads to X
            model = (get_args(model) or (None,))[-1]
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def dotted(loc: tuple[str | int, ...]) -> str:
    """Return the name of the field at `loc` as error texts give it, such as `vendors.a.options`.

    If `loc` is empty, return `the file`.
    """
    return ".".join(str(part) for part in loc) or "the file"


def names(model: type[BaseModel] | None) -> str:
    """Return the names of all fields of `model`, joined by commas, or `none` if `model` is None."""
    return listed(model.model_fields) if model else "none"


def listed(names: Iterable[str]) -> str:
    """Return `names` joined by commas, or `none` if there are no names."""
    return ", ".join(names) or "none"


def shown(value: object) -> str:
    """Return `value` as text for an error message, cut to at most 60 characters.

    For a mapping or a list, the text is only `a mapping` or `a list`.
    """
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
