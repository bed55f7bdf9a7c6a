"""Templates of tenants: names with an owner, quotas, and for how long an accepted trigger's text is kept."""

from __future__ import annotations

import pytest

from dispatcher.core.life.notification import NewNotification, NewTrigger, TemplatePin
from dispatcher.templates.owned import (
    DELETED_KEPT_MS,
    TemplateQuota,
    by_owner,
    owner_of,
    pinned_until_ms,
    plain_name,
    refused,
    stored_name,
)

NOW_MS = 1_700_000_000_000
KEPT_MS = NOW_MS + 31 * 86_400_000
"""A text that is deleted at `NOW_MS` is kept until this time, even if no trigger uses it."""
PIN = TemplatePin("shop/paid", 3, "d3")


def use(pin: TemplatePin = PIN, expires_ms: int | None = None) -> NewNotification:
    named = {"template": pin.name, "template_version": pin.version, "template_digest": pin.digest}
    return NewNotification("sms", "+4915112345678", ("a",), "a", expires_ms=expires_ms, **named)


def trigger(*notifications: NewNotification, expires_ms: int = KEPT_MS + 9) -> NewTrigger:
    whole = {"priority": "normal", "on_unknown": "resend", "data": {}, "notifications": notifications}
    return NewTrigger("0-a", "shop", "paid", "hash", NOW_MS, expires_ms, **whole)


@pytest.mark.parametrize(
    ("expires_ms", "kept_ms"),
    [(NOW_MS, 0), (KEPT_MS, 0), (KEPT_MS + 1, KEPT_MS + 1), (KEPT_MS + 86_400_000, KEPT_MS + 86_400_000)],
)
def test_a_text_is_kept_only_for_a_trigger_that_outlives_every_deletion(expires_ms: int, kept_ms: int) -> None:
    """The store keeps a deleted text for 31 days. A trigger that ends later needs the text until the trigger ends.

    A trigger that ends earlier needs nothing more, so the result is 0.
    """
    assert pinned_until_ms(trigger(use(), expires_ms=expires_ms)) == {PIN: kept_ms}


@pytest.mark.parametrize("ends", [(KEPT_MS + 5, KEPT_MS + 7), (KEPT_MS + 7, KEPT_MS + 5), (KEPT_MS + 7, NOW_MS)])
def test_the_last_notification_with_a_text_decides(ends: tuple[int, int]) -> None:
    """If several notifications use a text, the one that expires last decides for how long the text is kept."""
    assert pinned_until_ms(trigger(*(use(expires_ms=end) for end in ends))) == {PIN: KEPT_MS + 7}


def test_a_notification_without_a_time_of_its_own_has_the_triggers() -> None:
    assert pinned_until_ms(trigger(use(expires_ms=NOW_MS), use())) == {PIN: KEPT_MS + 9}


def test_only_texts_that_the_store_can_check_are_named() -> None:
    """`pinned_until_ms` returns only template versions with a digest.

    A version without a digest cannot be checked by the store, and content in the request is no template.
    """
    other = TemplatePin("paid", 1, "d1")
    content = NewNotification("sms", "+4915112345678", ("a",), "a", content={"text": "Hi"})
    assert set(pinned_until_ms(trigger(use(), use(other), use(TemplatePin("old", 1)), content))) == {PIN, other}


def test_a_deleted_text_is_kept_for_31_days() -> None:
    """A deleted text is kept for 31 days, as docs/templates.md tells operators."""
    assert DELETED_KEPT_MS == 31 * 24 * 60 * 60 * 1000


@pytest.mark.parametrize(("names", "most"), [(True, "7 templates"), (False, "900 bytes of templates")])
def test_a_refusal_names_the_quota_that_is_used_up(names: bool, most: str) -> None:
    """The message names the limit that is used up, and says that deleted templates still count for 31 days."""
    assert str(refused(TemplateQuota(7, 900), names=names)) == (
        f"a tenant may store {most}, deleted ones included for 31 days"
    )


@pytest.mark.parametrize(
    ("owner", "name", "stored"),
    [(None, "paid", "paid"), ("shop", "paid", "shop/paid"), ("eu/shop", "paid", "eu/shop/paid"), ("", "paid", "/paid")],
)
def test_a_stored_name_tells_owner_and_name(owner: str | None, name: str, stored: str) -> None:
    """Owner and name are read back from a stored name at its last slash.

    A tenant's name may contain a slash, a template's may not.
    """
    assert stored_name(owner, name) == stored
    assert (owner_of(stored), plain_name(stored)) == (owner, name)


def test_common_templates_belong_to_nobody() -> None:
    """`by_owner` groups the templates by tenant, under their names without the owner, and leaves out common ones."""
    latest = {"paid": 4, "shop/paid": 2, "shop/late": 1, "eu/shop/paid": 7}
    assert by_owner(latest) == {"shop": {"paid": 2, "late": 1}, "eu/shop": {"paid": 7}}
