"""The work of operators and tenants on templates: list, read, put, delete and preview.

`owner` is always the tenant that owns the templates, or None for the common ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from dispatcher.errors import CallerError, TemplateError
from dispatcher.templates.cache import TemplateCache
from dispatcher.templates.compile import Rendered, compile_gently
from dispatcher.templates.owned import TemplateQuota, owner_of, stored_name
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.store import TemplateStore


class Templates:
    """Reads and writes template versions. `in_file` are the names of templates in the configuration file."""

    def __init__(
        self, cache: TemplateCache, store: TemplateStore, quota: TemplateQuota, in_file: Collection[str]
    ) -> None:
        self._cache, self._store, self._quota, self._in_file = cache, store, quota, in_file

    def listing(self, owner: str | None) -> tuple[dict[str, int], list[str]]:
        """Return the latest version of each template that `owner` can use, and the names of the owner's own templates.

        The answer is at most half a second old.
        """
        own = {} if owner is None else self._cache.own(owner)
        common = {name: version for name, version in self._cache.latest.items() if owner_of(name) is None}
        return {**common, **own}, sorted(own)

    async def source(self, owner: str | None, name: str, version: int | None) -> TemplateSource:
        """Return one version of a template, or the latest if `version` is None.

        Raises CallerError (404) and UnavailableError.
        """
        found = self._cache.find(owner, name)
        source = None if found is None else await self._store.get(found[0], found[1] if version is None else version)
        if source is None:
            raise CallerError("name", "is not a stored template, or has no such version", 404)
        return source

    async def put(self, owner: str | None, source: TemplateSource, *, above: int = 0) -> int:
        """Store a template as a new version, and return the version's number. An unchanged template keeps its number.

        The name in `source` is without the owner. Within a second, triggers use the new version. The number is greater
        than `above`. Raises CallerError (nothing was stored, for example because it does not compile) and
        UnavailableError (call it again).
        """
        if "/" in source.name:
            raise CallerError("name", "must contain no slash")
        stored = replace(source, name=stored_name(owner, source.name))
        try:
            return await self._cache.put(stored, quota=None if owner is None else self._quota, above=above)
        except TemplateError as error:
            raise CallerError("template", str(error)) from None

    async def copy(self, owner: str | None, source: TemplateSource) -> int | None:
        """Store a version under the number that another cell gave it. Return None if that is done.

        Otherwise return the number that the version must exceed (`TemplateStore.copy`). Raises UnavailableError.
        """
        return await self._cache.copy(replace(source, name=stored_name(owner, source.name)))

    @property
    def loaded(self) -> bool:
        """Return True if the templates of the store are known."""
        return self._cache.loaded

    async def delete(self, owner: str | None, name: str) -> None:
        """Delete a template. Only triggers that are accepted later are affected.

        Raises CallerError (404, 409) and UnavailableError (call it again).
        """
        if owner is None and name in self._in_file:
            raise CallerError("name", "is in the configuration file; remove it there first", 409)
        if "/" in name or not await self._cache.delete(stored_name(owner, name)):
            raise CallerError("name", "is not a stored template", 404)

    async def rendered(self, source: TemplateSource, data: Mapping[str, Any], locale: str | None) -> Rendered:
        """Return the texts that the template version `source` gives with `data`. Raises CallerError if the version does
        not compile or cannot be rendered.
        """
        try:
            return (await compile_gently(source)).render(data, locale)
        except TemplateError as error:
            raise CallerError("data", str(error)) from None
