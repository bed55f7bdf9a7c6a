"""Templates of tenants: a tenant's own template goes before the common one of the same name.

Rules:

1. A template is common, or it belongs to one tenant. It is stored as `NAME`, or as `TENANT/NAME`. A template's name
   holds no slash, so the last slash divides the two.
2. A trigger of a tenant means the tenant's own template of a name if there is one, else the common one. The stored name
   and its version are pinned with the trigger, so a template that is deleted or made later changes nothing for it.
3. A tenant stores at most so many names and bytes (`TemplateQuota`). What it deleted counts until the store has given
   up the text, which it keeps for a while (`DELETED_KEPT_MS`) for triggers that were accepted before.
4. A version number means one text, as long as the store loses nothing. A name that was deleted and is made again goes
   on counting.
5. A store that was emptied or went back numbers texts again. So a trigger also names the digest of its text. The store
   accepts it only if the version has this digest, and a vendor's actor renders no other text.
6. A deleted text that a trigger with a distant `send_at` names is kept until `DELETED_KEPT_MS` after the trigger's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.core.life.notification import NewTrigger, TemplatePin, pin_of
from dispatcher.errors import TemplateError

DELETED_KEPT_MS = 31 * 86_400_000
"""A deleted text is kept for accepted triggers, which are mostly sent within a day."""


def pinned_until_ms(trigger: NewTrigger) -> dict[TemplatePin, int]:
    """Return the template versions that a trigger names, and when the last of its notifications with each is over.

    The time is wall milliseconds, or 0 where no deletion could take the text away before. A version without a digest
    is left out, because nothing can be checked of it.
    """
    pins: dict[TemplatePin, int] = {}
    for n in trigger.notifications:
        pin = pin_of(n)
        if pin is not None and pin.digest is not None:
            ends_ms = trigger.expires_ms if n.expires_ms is None else n.expires_ms
            late = ends_ms > trigger.accepted_ms + DELETED_KEPT_MS
            pins[pin] = max(pins.get(pin, 0), ends_ms if late else 0)
    return pins


@dataclass(frozen=True, slots=True)
class TemplateQuota:
    """The most that one tenant may store; common templates have no quota."""

    names_max: int
    bytes_max: int


def refused(quota: TemplateQuota, *, names: bool) -> TemplateError:
    """Return the error of a tenant that may store no more names, or no more bytes."""
    most = f"{quota.names_max} templates" if names else f"{quota.bytes_max} bytes of templates"
    return TemplateError(f"a tenant may store {most}, deleted ones included for {DELETED_KEPT_MS // 86_400_000} days")


def stored_name(owner: str | None, name: str) -> str:
    """Return the name under which a template is stored. `owner` is a tenant, or None for a common template."""
    return name if owner is None else f"{owner}/{name}"


def owner_of(stored: str) -> str | None:
    """Return the tenant that a stored template belongs to, or None for a common one."""
    owner, slash, _ = stored.rpartition("/")
    return owner if slash else None


def plain_name(stored: str) -> str:
    """Return the name without the tenant, as triggers and events write it."""
    return stored.rpartition("/")[2]


def by_owner(latest: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the tenants' own templates: plain name and latest version, by tenant."""
    found: dict[str, dict[str, int]] = {}
    for stored, version in latest.items():
        owner = owner_of(stored)
        if owner is not None:
            found.setdefault(owner, {})[plain_name(stored)] = version
    return found
