"""The names of tenants, and the rule for them.

An API key and the configuration must spell a tenant's name alike. Otherwise the tenant's limits and routes do not
apply.
"""

from __future__ import annotations

TENANT_CHARS_MAX = 255


def tenant_fault(name: str) -> str | None:
    """Return the rule that the name of a new tenant breaks, or None. Names of stored tenants are not checked again."""
    if not 1 <= len(name) <= TENANT_CHARS_MAX:
        return f"must have 1 to {TENANT_CHARS_MAX} characters"
    if name != name.strip():
        return "must not begin or end with white space"
    if not name.isprintable():
        return "must not hold a line end, another control character or an invisible one"
    return None
