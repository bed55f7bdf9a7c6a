"""A cache of compiled templates in this process.

A version of a template never changes, so a compiled version stays valid. Only a store that lost data makes it invalid;
then the owner calls `forget`.

If Redis answers that a version does not exist, the notification fails permanently (`TemplateError`). If Redis does not
answer, the caller gets `UnavailableError` and tries again. Neither result is cached.
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
    """Keeps the compiled versions that were used last, and each template's latest version number.

    At most `compiled_max` compiled versions are kept.

    The owner calls `refresh` every 0.5 s to learn new version numbers.
    """

    def __init__(self, store: TemplateStore, compiled_max: int = COMPILED_MAX) -> None:
        self._store = store
        self._compiled_max = compiled_max
        self._compiled: OrderedDict[tuple[str, int], CompiledTemplate] = OrderedDict()
        self._unfit: set[tuple[str, int]] = set()  # versions that do not compile; `warm` does not try them again
        self._latest: Mapping[str, int] = {}
        self._own: Mapping[str, Mapping[str, int]] = {}
        self.loaded = False  # while it is False, an empty map means "not known", not "no templates"
        self.promised: Collection[str] = ()  # common templates that the owner is storing, also again after a loss

    @property
    def latest(self) -> Mapping[str, int]:
        """Return each template's latest version number by stored name, as the store last answered."""
        return self._latest

    def own(self, tenant: str) -> Mapping[str, int]:
        """Return the latest version number of each of the tenant's own templates, by the name that its triggers use."""
        return self._own.get(tenant, {})

    def find(self, tenant: str | None, name: str) -> tuple[str, int] | None:
        """Return the stored name and the latest version of the template that a trigger of `tenant` calls `name`.

        If the tenant has a template of its own with this name, that template is meant, otherwise the common template.
        With `tenant` None only common templates are searched. The result is None if there is no such template.

        Raises `UnavailableError` if the configuration file has this template but the store does not have it yet. The
        caller then tries again, which it would not do after "no such template".
        """
        own = None if tenant is None else self.own(tenant).get(name)
        if own is not None:
            return stored_name(tenant, name), own
        version = None if "/" in name else self._latest.get(name)
        if version is None and name in self.promised:
            raise UnavailableError(f"the template {name} is being stored")
        return None if version is None else (name, version)

    async def refresh(self) -> None:
        """Read the latest version numbers from the store.

        Raises `UnavailableError`. The earlier numbers then stay in use.

        If the store had templates and now has none, it was emptied. Then `loaded` is False until the next refresh, so
        that no caller is told that its template does not exist. Before that refresh, the owner stores the templates
        again.
        """
        latest = await self._store.latest()
        self.loaded = bool(latest) or not self._latest
        self._know(latest)

    async def warm(self, most: int = WARMED_MAX) -> None:
        """Compile up to `most` latest versions that are not compiled yet, so that no trigger waits for the compiler.

        A version that does not compile is left out and not tried again here. `get` raises the error for it. Raises
        `UnavailableError`.
        """
        cold = [key for key in self._latest.items() if key not in self._compiled and key not in self._unfit]
        for name, version in cold[: min(most, self._compiled_max - len(self._compiled))]:
            try:
                await self.get(name, version)
            except TemplateError:
                self._unfit.add((name, version))

    async def get(self, name: str, version: int, digest: str | None = None) -> CompiledTemplate:
        """Return a compiled version, from the cache or from the store.

        With a `digest`, only a text with this digest is returned. A store that lost data may have given the version
        number to another text.

        Raises `TemplateGoneError` if there is no such version or its digest differs, another `TemplateError` if the
        version does not compile, and `UnavailableError` if the store does not answer.
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
        """Drop everything compiled.

        Call this when the store lost data, because the store may then give known version numbers to other texts.
        """
        self._compiled.clear()
        self._unfit.clear()

    async def put(
        self, source: TemplateSource, *, by_file: bool = False, quota: TemplateQuota | None = None, above: int = 0
    ) -> int:
        """Store a template if it compiles, and return its version number.

        The other arguments go to `TemplateStore.put`.

        Raises `TemplateError` if the template does not compile or exceeds the quota; nothing was stored then. Raises
        `UnavailableError` if the store did not answer; the call may be repeated.
        """
        await compile_gently(source, given=True)
        version = await self._store.put(source, by_file=by_file, quota=quota, above=above)
        self._know({**self._latest, source.name: max(version, self._latest.get(source.name, 0))})
        return version

    async def copy(self, source: TemplateSource) -> int | None:
        """Store a version under its own number, as `TemplateStore.copy` does. Raises `UnavailableError`."""
        above = await self._store.copy(source)
        if above is None:
            self._know({**self._latest, source.name: source.version})
        return above

    async def delete(self, stored: str) -> bool:
        """Delete the template `stored`, so that new triggers cannot use it. Return False if there was no such template.

        Raises `UnavailableError` if the store did not answer; the call may be repeated.
        """
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
