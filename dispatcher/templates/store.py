"""The store of template versions: its contract, and one in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from dispatcher.core.life.notification import TemplatePin
from dispatcher.templates.owned import DELETED_KEPT_MS, TemplateQuota, owner_of, refused
from dispatcher.templates.source import TemplateSource


class TemplateStore(Protocol):
    """Versions count from 1 and never change. Errors: `UnavailableError` when the store did not answer."""

    async def put(self, source: TemplateSource, *, by_file: bool = False, quota: TemplateQuota | None = None) -> int:
        """Return the version that now holds this content: the latest one when it is equal, else a new one.

        The source's name is the stored one (`templates.owned`). Errors: `TemplateError` beyond the owner's quota.

        `by_file`: the configuration file gives it. What the file gave last is remembered, and given again it changes
        nothing, so that a template which somebody has changed since stays changed until the file itself changes.
        """
        ...

    async def get(self, name: str, version: int) -> TemplateSource | None:
        """Return a version; None if the store answered that there is no such version."""
        ...

    async def delete(self, stored: str) -> bool:
        """Forget a template: `latest` no longer has it. False: there was none.

        Its versions can still be got for `DELETED_KEPT_MS`, counted from the end of the last accepted trigger with a
        distant `send_at` that names one of them, and a template that is made again counts on from them.
        """
        ...

    async def latest(self) -> dict[str, int]:
        """Return the latest version of every template, by stored name."""
        ...


@dataclass(slots=True)
class _Kept:
    """The versions of one stored name.

    `gone_ms`: when a deleted one is forgotten. `needed_ms`: when the last trigger with a distant `send_at` ends.
    """

    versions: dict[int, TemplateSource] = field(default_factory=dict)
    latest: int = 0
    gone_ms: int | None = None
    needed_ms: int = 0

    @property
    def bytes(self) -> int:
        return sum(_size(source) for source in self.versions.values())


class MemoryTemplateStore:
    """A template store in one process. `wall_ms` is the clock by which deleted templates are forgotten."""

    def __init__(self, wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._kept: dict[str, _Kept] = {}
        self._highest: dict[str | None, int] = {}  # version of a name that was forgotten, by owner
        self._by_file: dict[str, TemplateSource] = {}
        self._wall_ms = wall_ms

    async def put(self, source: TemplateSource, *, by_file: bool = False, quota: TemplateQuota | None = None) -> int:
        self._forget()
        name, owner = source.name, owner_of(source.name)
        kept = self._kept.get(name)
        alive = kept is not None and kept.gone_ms is None
        if kept is not None and alive and by_file and self._by_file.get(name) == source:
            return kept.latest
        if kept is None or not alive or kept.versions[kept.latest].parts() != source.parts():
            if quota is not None:
                self._check(source, quota)
            kept = self._kept.setdefault(name, _Kept(latest=self._highest.get(owner, 0)))
            kept.latest, kept.gone_ms = kept.latest + 1, None
            kept.versions[kept.latest] = replace(source, version=kept.latest)
        if by_file:
            self._by_file[name] = source
        return kept.latest

    def _check(self, source: TemplateSource, quota: TemplateQuota) -> None:
        rows = {name: kept.bytes for name, kept in self._kept.items() if owner_of(name) == owner_of(source.name)}
        if source.name not in rows and len(rows) >= quota.names_max:
            raise refused(quota, names=True)
        if sum(rows.values()) + _size(source) > quota.bytes_max:
            raise refused(quota, names=False)

    def _forget(self) -> None:
        now_ms = self._wall_ms()
        for name, kept in list(self._kept.items()):
            if kept.gone_ms is not None and kept.gone_ms <= now_ms:
                owner = owner_of(name)
                self._highest[owner] = max(self._highest.get(owner, 0), kept.latest)
                del self._kept[name]

    async def get(self, name: str, version: int) -> TemplateSource | None:
        self._forget()
        kept = self._kept.get(name)
        return None if kept is None else kept.versions.get(version)

    async def delete(self, stored: str) -> bool:
        kept = self._kept.get(stored)
        if kept is None or kept.gone_ms is not None:
            return False
        kept.gone_ms = max(self._wall_ms(), kept.needed_ms) + DELETED_KEPT_MS
        self._by_file.pop(stored, None)
        return True

    def keep(self, pins: Mapping[TemplatePin, int]) -> bool:
        """Note until when accepted triggers need these versions, wall ms; False: one is not here with this text.

        On Redis the script that accepts does this (scripts/accept.lua).
        """
        for pin, until_ms in pins.items():
            kept = self._kept.get(pin.name)
            source = None if kept is None else kept.versions.get(pin.version)
            if kept is None or source is None or source.digest != pin.digest or (until_ms and kept.gone_ms is not None):
                return False
        for pin, until_ms in pins.items():
            self._kept[pin.name].needed_ms = max(self._kept[pin.name].needed_ms, until_ms)
        return True

    async def latest(self) -> dict[str, int]:
        return {name: kept.latest for name, kept in self._kept.items() if kept.gone_ms is None}


def _size(source: TemplateSource) -> int:
    return len(source.canonical().encode())
