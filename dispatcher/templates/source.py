"""A template as its author gave it. A text that has a version number never changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.core.json_object import JsonObject
from dispatcher.templates.owned import owner_of, plain_name


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """One version of one template. `name` is its stored name (`templates.owned`). Version 0 means not stored yet."""

    name: str
    text: str
    subject: str | None = None
    html: str | None = None
    version: int = 0

    @property
    def owner(self) -> str | None:
        """Return the tenant that the template belongs to, or None if it is common."""
        return owner_of(self.name)

    @property
    def plain_name(self) -> str:
        """Return the name that triggers use for this template."""
        return plain_name(self.name)

    def to_dict(self) -> JsonObject:
        """Return the version as the HTTP interface shows it."""
        return {"name": self.name, "version": self.version, **self.parts()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TemplateSource:
        return cls(
            name=value["name"],
            text=value["text"],
            subject=value.get("subject"),
            html=value.get("html"),
            version=value.get("version", 0),
        )

    def parts(self) -> dict[str, str | None]:
        """Return only the subject, the text and the html. Two versions with equal parts count as the same."""
        return {"subject": self.subject, "text": self.text, "html": self.html}

    def canonical(self) -> str:
        """Return the template's parts as a JSON text. Equal parts always give the same text."""
        return json.dumps(self.parts(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """Return the first 16 hex digits of the SHA-256 of the parts.

        A trigger names this digest (`templates.owned`, rule 5).
        """
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]
