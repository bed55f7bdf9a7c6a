"""The record that describes a provider. Code for a single provider is only in that provider's own file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dispatcher.core.life.outcome import Phrase, Word
from dispatcher.core.life.receipt import Told
from dispatcher.errors import ConfigError
from dispatcher.ports import Vendor


@dataclass(frozen=True, slots=True)
class Provider:
    """Describes a provider: what it can send, which options it needs, and how a vendor of this provider is made.

    Attributes:
        options: the model of the provider's options.
        build: makes a vendor from a name, a channel and an instance of `options`, and connects to nothing.
        read_receipts: reads the query and the body of a call-back. None means that the provider sends no call-backs.
        words: the meanings of error codes, each with its source. After any other code the next vendor is tried.
        phrases: the meanings of error sentences, each with its source.
        calls_max: the most calls that a vendor actor can make at once. None means no limit.
        segments_max: the most segments of an SMS that the provider accepts. None means no limit.
    """

    name: str
    channels: tuple[str, ...]
    options: type[BaseModel]
    build: Callable[[str, str, Any], Vendor]
    read_receipts: Callable[[Mapping[str, str], bytes], list[Told]] | None = None
    words: Mapping[str, Word] = field(default_factory=dict)
    phrases: tuple[Phrase, ...] = ()
    calls_max: int | None = None
    segments_max: int | None = None

    def calls_at_once(self, wanted: int) -> int:
        """Return `wanted`, or `calls_max` if that is smaller."""
        return wanted if self.calls_max is None else min(wanted, self.calls_max)

    def refuse_segments(self, vendor: str, wanted: int) -> str | None:
        """Return None if the provider accepts SMS of `wanted` segments, else the sentence that refuses the setting."""
        if self.segments_max is None or wanted <= self.segments_max:
            return None
        at = f"vendors.{vendor}.segments_max"
        return f"{at}: {wanted} is not allowed: {self.name} accepts at most {self.segments_max}"

    def refuse_channel(self, vendor: str, channel: str) -> str | None:
        """Return None if the provider can send on `channel`, else the sentence that refuses the setting."""
        if channel in self.channels:
            return None
        return f"vendors.{vendor}.channel: {channel!r} is not allowed: {self.name} has {', '.join(self.channels)}"

    def check(self, vendor: str, options: Mapping[str, Any], unresolved: Mapping[str, str] | None = None) -> BaseModel:
        """Check `options`, whose references are resolved, and return the options as a model.

        `unresolved` maps each option whose reference could not be resolved to the reason. Such an option is reported
        with this reason, not as missing. Raises `ConfigError` with one line for each wrong option. A line never shows a
        value, which may be a secret.
        """
        at, unresolved = f"vendors.{vendor}.options", unresolved or {}
        faults = [f"{at}.{name}: {reason}" for name, reason in unresolved.items()]
        given = {name: value for name, value in options.items() if value is not None and name not in unresolved}
        try:
            model = self.options.model_validate(given)
        except ValidationError as error:
            for found in error.errors(include_url=False, include_context=False, include_input=False):
                place = [str(part) for part in found["loc"]]
                if not place and unresolved:  # a rule about several options, and some of them are unknown
                    continue
                if not place or place[0] not in unresolved:
                    faults.append(".".join([at, *place]) + self._rule(found, bool(place)))
        if faults:
            raise ConfigError("\n".join(faults))
        return model

    def _rule(self, error: ErrorDetails, has_place: bool) -> str:
        text = str(error["msg"]).removeprefix("Value error, ")
        if not has_place:  # a rule about several options: its text begins with the option to change
            return f".{text}"
        known = ", ".join(self.options.model_fields)
        return ": " + {
            "missing": "is needed",
            "extra_forbidden": f"is not an option of this adapter; allowed: {known}",
            "string_type": "must be a text; put a number into quotes",
            "string_too_short": "must not be empty",
            "too_short": "must not be empty",
        }.get(error["type"], text)
