"""Templates of tenants: a tenant's own template is used instead of the common template with the same name.

Rules:

1. A template is common, or it belongs to one tenant. Its stored name is `NAME` or `TENANT/NAME`. A template's own name
   contains no slash, so the last slash separates the two.
2. If a tenant has a template of its own with the name that a trigger gives, the trigger uses that template. Otherwise
   the trigger uses the common template. The stored name and its version are pinned in the trigger. A template that is
   deleted or made later changes nothing for this trigger.
3. A quota (`TemplateQuota`) limits how many names and bytes a tenant may store. A deleted template still counts until
   the store forgets its texts, `DELETED_KEPT_MS` later. Accepted triggers need the texts until then.
4. A version number always means the same text, as long as the store loses nothing. If a deleted name is made again, its
   version numbers continue.
5. A store that was emptied, or restored from an older copy, gives the same numbers to other texts. So a trigger also
   names the digest of its text. The store accepts a trigger only if the version has this digest, and a vendor actor
   renders no other text.
6. If a trigger with a distant `send_at` names a deleted text, the text is kept until `DELETED_KEPT_MS` after the
   trigger's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.core.life.notification import NewTrigger, TemplatePin, pin_of
from dispatcher.errors import TemplateError

DELETED_KEPT_MS = 31 * 86_400_000
"""The time for which the store keeps a deleted text, in milliseconds. Most accepted triggers are sent within a day."""


def pinned_until_ms(trigger: NewTrigger) -> dict[TemplatePin, int]:
    """Return the template versions that a trigger uses, each with the time until which the store must keep it.

    The time is the expiry of the last notification with this version, in milliseconds since the epoch. The time is 0 if
    the trigger ends so early that no deletion can remove the text before the trigger's end. A version without a digest
    is left out, because the store could not check it.
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
    """The most templates and bytes that one tenant may store. Common templates have no quota."""

    names_max: int
    bytes_max: int


def refused(quota: TemplateQuota, *, names: bool) -> TemplateError:
    """Return the error for a tenant that exceeds its quota.

    With `names`, the tenant has too many templates. Otherwise its templates have too many bytes.
    """
    most = f"{quota.names_max} templates" if names else f"{quota.bytes_max} bytes of templates"
    return TemplateError(f"a tenant may store {most}, deleted ones included for {DELETED_KEPT_MS // 86_400_000} days")


def stored_name(owner: str | None, name: str) -> str:
    """Return the name under which the store keeps a template. `owner` is a tenant, or None for a common template."""
    return name if owner is None else f"{owner}/{name}"


def owner_of(stored: str) -> str | None:
    """Return the tenant that the template with this stored name belongs to, or None if it is common."""
    owner, slash, _ = stored.rpartition("/")
    return owner if slash else None


def plain_name(stored: str) -> str:
    """Return a stored name without the tenant. Triggers and events use this plain name."""
    return stored.rpartition("/")[2]


def by_owner(latest: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the latest versions of the tenants' own templates, by tenant and then by plain name. Common templates are
    left out.
    """
    found: dict[str, dict[str, int]] = {}
    for stored, version in latest.items():
        owner = owner_of(stored)
        if owner is not None:
            found.setdefault(owner, {})[plain_name(stored)] = version
    return found
