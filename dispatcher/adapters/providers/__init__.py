"""The registry of providers. Each provider has a file here. `build` makes a vendor and connects to nothing.

An installed package may add a provider by an entry point of the group `dispatcher.providers`, which names its
`Provider`. The meanings of a provider's error codes come from its documentation, which each file cites. The meanings
were not verified with a real account.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from dispatcher.adapters.providers.provider import Provider
from dispatcher.adapters.providers.sendgrid import SENDGRID
from dispatcher.adapters.providers.smtp import SMTP
from dispatcher.adapters.providers.twilio import TWILIO
from dispatcher.adapters.providers.vonage import VONAGE
from dispatcher.errors import ConfigError
from dispatcher.ports import Vendor

GROUP = "dispatcher.providers"
PROVIDERS: Mapping[str, Provider] = MappingProxyType({one.name: one for one in (TWILIO, VONAGE, SENDGRID, SMTP)})
"""The providers of this package, by name. An installed package cannot replace any of them."""


@cache
def all_providers() -> Mapping[str, Provider | str]:
    """Return every provider by name, including those of installed packages.

    If a package's provider cannot be used, the value is a text with the reason.
    """
    found: dict[str, Provider | str] = {}
    for entry in entry_points(group=GROUP):
        usable = _load(entry)
        if entry.name in found and found[entry.name] != usable:
            usable = "two installed packages offer it, remove one of them"
        found[entry.name] = usable
    return MappingProxyType({**found, **PROVIDERS})


def _load(entry: EntryPoint) -> Provider | str:
    try:
        loaded = entry.load()
    except Exception as error:  # somebody else's code: a broken package must stop only those that use it
        return f"its package cannot be loaded: {type(error).__name__}: {error}"
    if not isinstance(loaded, Provider) or loaded.name != entry.name:
        return f"its entry point {entry.value} must lead to a Provider of this name"
    return loaded


def provider(name: str) -> Provider:
    """Return the provider with this name.

    Raises `ConfigError` if the provider is unknown or cannot be used. The error's text lists the known names or gives
    the reason.
    """
    found = all_providers().get(name)
    if found is None:
        known = ", ".join(repr(one) for one in sorted(all_providers()))
        raise ConfigError(f"must be one of {known}")
    if isinstance(found, str):
        raise ConfigError(f"{name} cannot be used: {found}")
    return found


def build(adapter: str, name: str, channel: str, options: Mapping[str, Any]) -> Vendor:
    """Return a new vendor with this `name`. Secret references in `options` must be resolved already.

    Raises `ConfigError` that names each wrong field.
    """
    try:
        found = provider(adapter)
    except ConfigError as error:
        raise ConfigError(f"vendors.{name}.adapter: {error}") from None
    refused = found.refuse_channel(name, channel)
    if refused is not None:
        raise ConfigError(refused)
    return found.build(name, channel, found.check(name, options))
