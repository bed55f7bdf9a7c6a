"""Where template versions live."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from dispatcher.templates.source import TemplateSource


class TemplateStore(Protocol):
    """Versions count from 1 and never change. Errors: `UnavailableError` when the store did not answer."""

    async def put(self, source: TemplateSource, *, by_file: bool = False) -> int:
        """The version that now holds this content: the latest one when it is equal, else a new one.

        `by_file`: the configuration file gives it. What the file gave last is remembered, and given again it changes
        nothing, so that a template which somebody has changed since stays changed until the file itself changes.
        """
        ...

    async def get(self, name: str, version: int) -> TemplateSource | None:
        """None: the store answered that there is no such version."""
        ...

    async def latest(self) -> dict[str, int]:
        """The latest version of every template, by name."""
        ...


class MemoryTemplateStore:
    """The same, in one process."""

    def __init__(self) -> None:
        self._versions: dict[str, list[TemplateSource]] = {}
        self._by_file: dict[str, TemplateSource] = {}

    async def put(self, source: TemplateSource, *, by_file: bool = False) -> int:
        versions = self._versions.setdefault(source.name, [])
        if by_file and versions and self._by_file.get(source.name) == source:
            return len(versions)
        if by_file:
            self._by_file[source.name] = source
        if not versions or versions[-1].parts() != source.parts():
            versions.append(replace(source, version=len(versions) + 1))
        return len(versions)

    async def get(self, name: str, version: int) -> TemplateSource | None:
        versions = self._versions.get(name, [])
        return versions[version - 1] if 1 <= version <= len(versions) else None

    async def latest(self) -> dict[str, int]:
        return {name: len(versions) for name, versions in self._versions.items()}
