"""The store of template versions: its contract, and an implementation in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from dispatcher.core.life.notification import TemplatePin
from dispatcher.templates.owned import DELETED_KEPT_MS, TemplateQuota, owner_of, refused
from dispatcher.templates.source import TemplateSource


class TemplateStore(Protocol):
    """A store of template versions. Each new version of a template has a higher number.

    The text of a version never changes. Every method raises `UnavailableError` if the store does not answer.
    """

    async def put(
        self, source: TemplateSource, *, by_file: bool = False, quota: TemplateQuota | None = None, above: int = 0
    ) -> int:
        """Store `source` and return its version number.

        If the latest version has the same content, its number is returned.

        `source.name` is the stored name (`templates.owned`). With a `quota`, raises `TemplateError` if the template
        would exceed the quota.

        `by_file` is True if the configuration file gives the template. The store remembers what the file gave last. If
        the file gives the same again, nothing changes. So a template that somebody changed over the API stays changed
        until the file's text changes.

        The version gets a number greater than `above`, even if the latest version has the same content.
        """
        ...

    async def copy(self, source: TemplateSource) -> int | None:
        """Store a version under the number `source.version`, which another store gave it, and make it the latest.

        Return None if that is now so. A repeat changes nothing. If this store has given the number or a greater one to
        another content, nothing is changed. Then return the number that a new version must exceed.
        """
        ...

    async def get(self, name: str, version: int) -> TemplateSource | None:
        """Return a version, or None if the store has no such version."""
        ...

    async def delete(self, stored: str) -> bool:
        """Delete a template, so that `latest` no longer has it. Return False if there was no such template.

        `get` still returns its versions for `DELETED_KEPT_MS`. If an accepted trigger with a distant `send_at` names a
        version, this time begins at the end of that trigger. If the template is made again, its version numbers
        continue.
        """
        ...

    async def latest(self) -> dict[str, int]:
        """Return the latest version number of every template that is not deleted, by stored name."""
        ...


@dataclass(slots=True)
class _Kept:
    """Everything that the store keeps under one stored name: the versions, and the number of the latest version.

    If the template is deleted, `gone_ms` is when it is forgotten. Otherwise `gone_ms` is None. Some triggers with a
    distant `send_at` use the template, and `needed_ms` is when the last of them ends. Both times are milliseconds since
    the epoch.
    """

    versions: dict[int, TemplateSource] = field(default_factory=dict)
    latest: int = 0
    gone_ms: int | None = None
    needed_ms: int = 0

    @property
    def bytes(self) -> int:
        return sum(_size(source) for source in self.versions.values())


class MemoryTemplateStore:
    """A template store in the memory of one process.

    `wall_ms` returns the current time, in milliseconds since the epoch. The store needs it to forget deleted templates.
    """

    def __init__(self, wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._kept: dict[str, _Kept] = {}
        self._highest: dict[str | None, int] = {}  # version of a name that was forgotten, by owner
        self._by_file: dict[str, TemplateSource] = {}
        self._wall_ms = wall_ms

    async def put(
        self, source: TemplateSource, *, by_file: bool = False, quota: TemplateQuota | None = None, above: int = 0
    ) -> int:
        self._forget()
        name, owner = source.name, owner_of(source.name)
        kept = self._kept.get(name)
        alive = kept is not None and kept.gone_ms is None
        behind = kept is None or not alive or kept.latest <= above
        if kept is not None and not behind and by_file and self._by_file.get(name) == source:
            return kept.latest
        if kept is None or behind or kept.versions[kept.latest].parts() != source.parts():
            if quota is not None:
                self._check(source, quota)
            kept = self._kept.setdefault(name, _Kept(latest=self._highest.get(owner, 0)))
            kept.latest, kept.gone_ms = max(kept.latest, above) + 1, None
            kept.versions[kept.latest] = replace(source, version=kept.latest)
        if by_file:
            self._by_file[name] = source
        return kept.latest

    async def copy(self, source: TemplateSource) -> int | None:
        self._forget()
        kept = self._kept.setdefault(source.name, _Kept())
        known, latest = kept.versions.get(source.version), kept.latest if kept.gone_ms is None else 0
        if latest > source.version or (known is not None and known.parts() != source.parts()):
            return max(latest, source.version)
        kept.versions[source.version], kept.latest, kept.gone_ms = source, source.version, None
        return None

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
        """Record until when accepted triggers need the versions in `pins`, in milliseconds since the epoch.

        Return False and record nothing if one of the versions is missing or has another digest. The same holds if its
        template is deleted, unless the time in `pins` is 0. On Redis the script that accepts a trigger does this
        (scripts/accept.lua).
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
