"""The type of a JSON object in code that passes it on and does not know its fields."""

from __future__ import annotations

JsonObject = dict[str, object]
"""A JSON object of any shape. Code that reads a field has to check its type first.

Where the shape is known, a dataclass, a TypedDict or a pydantic model says so instead.
"""
