"""Vendor adapters, one file per provider. `build` makes one from its configuration, connecting to nothing.

A provider's table of error codes is documented, not verified against an account of ours: each file cites its words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dispatcher.adapters.vendors.sendgrid import SendGrid
from dispatcher.adapters.vendors.smtp import Smtp
from dispatcher.adapters.vendors.twilio import Twilio
from dispatcher.adapters.vendors.vonage import Vonage
from dispatcher.errors import ConfigError
from dispatcher.ports import Vendor

ADAPTERS: dict[str, Callable[[str, str, Mapping[str, Any]], Vendor]] = {
    "twilio": Twilio,
    "vonage": Vonage,
    "sendgrid": SendGrid,
    "smtp": Smtp,
}


def build(adapter: str, name: str, channel: str, options: Mapping[str, Any]) -> Vendor:
    """The adapter for one configured vendor. `options` are resolved. Raises ConfigError naming the field."""
    make = ADAPTERS.get(adapter)
    if make is None:
        raise ConfigError(f"vendors.{name}.adapter: must be one of {', '.join(sorted(ADAPTERS))}")
    return make(name, channel, options)
