"""Compiled templates, near: versions are immutable, so that what was once compiled stays right.

"Redis answered: absent" is permanent for the notification that asked (`TemplateError`); "Redis did not answer" is not
(`UnavailableError`, passed through), and neither is remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping

from dispatcher.errors import TemplateError, TemplateGoneError, UnavailableError
from dispatcher.templates.compile import CompiledTemplate, compile_gently
from dispatcher.templates.owned import TemplateQuota, by_owner, stored_name
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import TemplateStore

COMPILED_MAX = 512  # versions; at tens of kilobytes each, some 20 MiB per process at most
WARMED_MAX = 16  # compiled after one refresh


class TemplateCache:
    """A bounded LRU of compiled versions, and the map of latest versions, which the owner refreshes every 0.5 s."""

    def __init__(self, store: TemplateStore, compiled_max: int = COMPILED_MAX) -> None:
        self._store = store
        self._compiled_max = compiled_max
        self._compiled: OrderedDict[tuple[str, int], CompiledTemplate] = OrderedDict()
        self._unfit: set[tuple[str, int]] = set()  # do not compile; not tried again at every refresh
        self._latest: Mapping[str, int] = {}
        self._own: Mapping[str, Mapping[str, int]] = {}
        self.loaded = False  # before the first refresh, an empty map means "not known" rather than "none"
        self.promised: Collection[str] = ()  # common ones that the owner puts into the store, and puts back

    @property
    def latest(self) -> Mapping[str, int]:
        """The latest version of every template by stored name, as of the last refresh that the store answered."""
        return self._latest

    def own(self, tenant: str) -> Mapping[str, int]:
        """The latest version of each of the tenant's own templates, by the name that its triggers use."""
        return self._own.get(tenant, {})

    def find(self, tenant: str | None, name: str) -> tuple[str, int] | None:
        """The stored name and latest version of the template that `name` means for a tenant; None: there is none.

        Without a tenant it is the common one. Errors: `UnavailableError` for one that is promised and not stored yet,
        since a caller who heard that it does not exist would not come again.
        """
        own = None if tenant is None else self.own(tenant).get(name)
        if own is not None:
            return stored_name(tenant, name), own
        version = None if "/" in name else self._latest.get(name)
        if version is None and name in self.promised:
            raise UnavailableError(f"the template {name} is being stored")
        return None if version is None else (name, version)

    async def refresh(self) -> None:
        """Errors: `UnavailableError`; the map of before stays in use.

        A store that had templates and has none was emptied: not loaded until the next refresh, which finds what the
        owner has put back. Otherwise callers would be told for good that their template does not exist.
        """
        latest = await self._store.latest()
        self.loaded = bool(latest) or not self._latest
        self._know(latest)

    async def warm(self, most: int = WARMED_MAX) -> None:
        """Compile latest versions that are not compiled yet, so that no accept waits for it.

        A version that does not compile stays cold: whoever asks for it gets the error. Errors: `UnavailableError`.
        """
        cold = [key for key in self._latest.items() if key not in self._compiled and key not in self._unfit]
        for name, version in cold[: min(most, self._compiled_max - len(self._compiled))]:
            try:
                await self.get(name, version)
            except TemplateError:
                self._unfit.add((name, version))

    async def get(self, name: str, version: int, digest: str | None = None) -> CompiledTemplate:
        """Return a version, compiled. With a `digest` it is the version with this content: a store that lost data may
        have given the number to another text since.

        Errors: `TemplateError` when there is no such version (`TemplateGoneError`) or it does not compile;
        `UnavailableError`.
        """
        key = (name, version)
        found = self._compiled.get(key)
        if found is not None and digest in (None, found.digest):
            self._compiled.move_to_end(key)
            return found
        source = await self._store.get(name, version)
        if source is None:
            raise TemplateGoneError(f"template {name} has no version {version}")
        if digest not in (None, source.digest):
            raise TemplateGoneError(f"template {name} version {version} has another text than the accepted one")
        return self._keep(key, await compile_gently(source))

    def forget(self) -> None:
        """Compile everything from the store again: it lost data, and may give known numbers to other texts."""
        self._compiled.clear()
        self._unfit.clear()

    async def put(self, source: TemplateSource, *, by_file: bool = False, quota: TemplateQuota | None = None) -> int:
        """Stores what compiles. Errors: `TemplateError`, nothing was stored; `UnavailableError`, repeat it."""
        await compile_gently(source, given=True)
        version = await self._store.put(source, by_file=by_file, quota=quota)
        self._know({**self._latest, source.name: max(version, self._latest.get(source.name, 0))})
        return version

    async def delete(self, stored: str) -> bool:
        """Deletes a template for triggers to come; False: there was none. Errors: `UnavailableError`, repeat it."""
        found = await self._store.delete(stored)
        self._know({name: version for name, version in self._latest.items() if name != stored})
        return found

    def _know(self, latest: Mapping[str, int]) -> None:
        self._latest, self._own = latest, by_owner(latest)

    def _keep(self, key: tuple[str, int], compiled: CompiledTemplate) -> CompiledTemplate:
        self._compiled[key] = compiled
        self._compiled.move_to_end(key)
        while len(self._compiled) > self._compiled_max:
            self._compiled.popitem(last=False)
        return compiled
