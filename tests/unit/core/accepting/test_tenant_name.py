"""Checks which names a tenant may have: those that look the same in an API key and in the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dispatcher.adapters.api_keys import list_keys, new_key
from dispatcher.config.settings import parse_settings
from dispatcher.core.accepting.tenant_name import tenant_fault
from dispatcher.errors import ConfigError

ODD = [
    "",
    " ",
    "shop ",
    "\tshop",
    "shop\n",
    "a\nb",
    "a\u200bb",
    "\ufeffshop",
    "a\x7fb",
    "a\u202eb",
    "x" * 256,
    "a\u00a0b",
]


@pytest.mark.parametrize("name", ODD)
def test_a_name_that_looks_like_another_is_refused_everywhere(name: str, tmp_path: Path) -> None:
    """A tenant's name with invisible characters, odd spaces or too many characters is refused for an API key and
    in the configuration. Otherwise `shop` with a line end would be a tenant without the limits and routes of
    `shop`.
    """
    path = tmp_path / "api_keys.json"
    with pytest.raises(ConfigError, match=r"^tenant: must "):
        new_key(path, name)
    assert list_keys(path) == []
    place: list[dict[str, Any]] = [
        {"tenants": {name: {"weight": 2}}},
        {"vendors": {"a": {"adapter": "twilio", "channel": "sms"}},
         "routes": [{"channel": "sms", "chain": ["a"], "match": {"tenant": [name]}}]},
    ]  # fmt: skip
    for data in place:
        with pytest.raises(ConfigError, match="tenant"):
            parse_settings(data)


@pytest.mark.parametrize("name", ["shop", "Shop GmbH & Co", "büro", "acme/eu", "a:b|c", "日本", "x" * 255])
def test_a_name_that_can_be_read_is_a_name(name: str) -> None:
    """A tenant's name may contain slashes, inner spaces and letters of any language."""
    assert tenant_fault(name) is None
