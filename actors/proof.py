"""Checks a configuration: makes every part of every actor from the settings, without a connection.

`config check`, `up`, SIGHUP and `deploy` call `prove` before they change anything. So if an actor with a checked
configuration fails later, something has changed since the check, or the actor runs on another machine.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from actors.assembly import breaker_config, courier_limits, retry_policy
from actors.runtime import receipt_links
from actors.supervisor import plan_config
from dispatcher.accept.intake import Intake
from dispatcher.adapters.providers import provider
from dispatcher.adapters.providers.fields import reachable_from_outside
from dispatcher.adapters.redis.address import parse
from dispatcher.adapters.system_clock import SystemClock
from dispatcher.config.secret_references import resolve, resolve_each
from dispatcher.config.settings import Settings
from dispatcher.config.yaml_file import load_settings
from dispatcher.errors import ConfigError
from dispatcher.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from dispatcher.config.certificate import Pair


def load_proven(path: Path) -> Settings:
    """Read the file, check it with `prove` and return its settings.

    Raises `ConfigError` with one line for each fault.
    """
    settings = load_settings(path)
    prove(settings)
    return settings


def prove(settings: Settings, secrets_elsewhere: bool = False) -> list[str]:
    """Make every part of every actor of this configuration once. Raises `ConfigError` with one line for each fault.

    With `secrets_elsewhere`, another machine resolves the secrets and has the certificate. Then it is allowed that a
    reference has no secret on this machine, and that the certificate cannot be used here. The result lists them, one
    line for each, because they could not be checked.
    """
    found = list(_faults(settings))
    unresolved = list(_unresolved(settings)) if secrets_elsewhere else []
    faults = [fault for fault in found if fault not in unresolved]
    if faults:
        raise ConfigError("\n".join(faults))
    return unresolved


def _unresolved(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each secret reference that gives no secret on this machine, and for each fault of the HTTPS
    certificate.
    """
    for name, vendor in settings.vendors.items():
        for option, reason in resolve_each(vendor.options)[1].items():
            yield f"vendors.{name}.options.{option}: {reason}"
    yield from _attempt("receipts.secret", lambda: receipt_links(settings))
    for index, reference in enumerate(settings.store.cells):
        yield from _attempt(f"store.cells.{index}", partial(resolve, reference))
    yield from _certificate_faults(settings)


def _faults(settings: Settings) -> Iterator[str]:
    outside, nothing = False, cast(Any, None)
    for name, vendor in settings.vendors.items():
        options = yield from _vendor_faults(settings, name)
        base_url = getattr(options, "base_url", None)
        if provider(vendor.adapter).read_receipts is not None and isinstance(base_url, str):
            outside = outside or reachable_from_outside(base_url)
    receipts = settings.receipts
    yield from _attempt("receipts.secret", lambda: receipt_links(settings))
    if receipts.public_url is not None and outside and not reachable_from_outside(receipts.public_url):
        yield f"receipts.public_url: {receipts.public_url!r} is not allowed: no provider can call it from outside"
    yield from _cell_faults(settings)
    yield from _certificate_faults(settings)
    yield from _attempt("supervision", lambda: plan_config(settings))
    yield from _attempt("retry", lambda: retry_policy(settings))
    yield from _attempt(
        "limits", lambda: Intake(settings, nothing, nothing, nothing, clock=SystemClock(), metrics=Metrics())
    )


def _cell_faults(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each entry of `store.cells` that gives no address of a Redis, or one of an earlier entry."""
    known: list[tuple[object, ...]] = []
    for index, reference in enumerate(settings.store.cells):
        try:
            place = parse(resolve(reference)).place
        except ConfigError as error:
            yield f"store.cells.{index}: {error}"
            known.append(())
            continue
        if place in known:
            yield f"store.cells.{index}: is not allowed: it is the server of entry {known.index(place)}"
        known.append(place)


def certificate_pair(settings: Settings) -> Pair | None:
    """Read the certificate of the HTTPS listener and its key. Return None if the settings name none.

    Raises ConfigError with one sentence if callers would refuse the certificate.
    """
    tls = settings.tls
    if tls is None:
        return None
    from dispatcher.config.certificate import read_pair  # only now: loading cryptography takes a tenth of a second

    return read_pair(Path(tls.certificate), None if tls.key is None else Path(tls.key), time.time())


def _certificate_faults(settings: Settings) -> Iterator[str]:
    try:
        certificate_pair(settings)
    except ConfigError as error:
        yield str(error)


def _vendor_faults(settings: Settings, name: str) -> Generator[str, None, BaseModel | None]:
    """Yield the faults in the settings of the vendor `name`.

    Return its checked options, or None if the options are wrong.
    """
    vendor = settings.vendors[name]
    found, options = provider(vendor.adapter), None
    resolved, unresolved = resolve_each(vendor.options)
    try:
        options = found.check(name, resolved, unresolved)
    except ConfigError as error:
        yield from str(error).split("\n")
    if options is not None:
        yield from _attempt(f"vendors.{name}.options", lambda: found.build(name, vendor.channel, options))
    yield from _attempt(f"vendors.{name}.breaker", lambda: breaker_config(vendor.breaker, vendor.timeout_s))
    yield from _attempt(f"vendors.{name}", lambda: courier_limits(vendor, settings.courier))
    return options


def _attempt(field: str, make: Callable[[], Any]) -> Iterator[str]:
    """Call `make`. If it raises an error, yield one sentence about the error.

    The text of a `ConfigError` may begin with the name of a vendor's field. Then this text is the sentence. In all
    other cases the sentence begins with `field`.
    """
    try:
        make()
    except ConfigError as error:
        text = str(error)
        yield text if text.startswith("vendors.") else f"{field}: {text}"
    except Exception as error:  # a constructor may be somebody else's, and whatever it raises must not end a service
        yield f"{field}: {error if isinstance(error, ValueError) else type(error).__name__}"


def secrets_digest(settings: Settings, key: bytes) -> dict[str, str]:
    """Return a keyed digest of each vendor's current secrets by name, of the receipts' secret under `receipts`, and of
    the addresses of further cells under `cells`.

    A changed secret changes its digest, so a reload replaces the actors that use it. The key stays in this process, so
    nobody can guess a secret from its digest.
    """

    def digest(value: Any) -> str:
        return hmac.new(key, json.dumps(value, sort_keys=True, default=str).encode(), hashlib.sha256).hexdigest()[:16]

    found = {name: digest(resolve_each(vendor.options)) for name, vendor in settings.vendors.items()}
    secret = settings.receipts.secret
    if secret is not None:
        found["receipts"] = digest(resolve(secret))
    if settings.store.cells:
        found["cells"] = digest([resolve(reference) for reference in settings.store.cells])
    return found
