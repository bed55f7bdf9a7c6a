"""A template as it was given. It is immutable once it has a version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.templates.owned import owner_of, plain_name


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """One version of one template, under its stored name (`templates.owned`). Version 0 is not stored yet."""

    name: str
    text: str
    subject: str | None = None
    html: str | None = None
    version: int = 0

    @property
    def owner(self) -> str | None:
        """Return the tenant that the template belongs to; None for a common one."""
        return owner_of(self.name)

    @property
    def plain_name(self) -> str:
        """Return the name that triggers use."""
        return plain_name(self.name)

    def to_dict(self) -> dict[str, Any]:
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
        """Return the content alone. It decides whether two versions are the same."""
        return {"subject": self.subject, "text": self.text, "html": self.html}

    def canonical(self) -> str:
        """Return the content as JSON: equal contents are equal texts."""
        return json.dumps(self.parts(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """Return 16 hex digits of the content. A trigger has them beside the version (`templates.owned`, rule 5)."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]
