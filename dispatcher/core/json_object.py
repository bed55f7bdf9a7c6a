"""The type of a JSON object whose fields are not known where it is passed on."""

from __future__ import annotations

JsonObject = dict[str, object]
"""A JSON object of any shape. Code that reads a field has to check its type first.

Where the shape is known, a dataclass, a TypedDict or a pydantic model says so instead.
"""
