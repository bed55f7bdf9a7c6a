"""The record that describes one provider; everything else that knows providers derives from these records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from dispatcher.core.life.outcome import Phrase, Word
from dispatcher.core.life.receipt import Told
from dispatcher.errors import ConfigError
from dispatcher.ports import Vendor


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider: what it can carry, which options it needs, and how a vendor of it is made.

    `build(name, channel, options)` is given an instance of `options`. It connects to nothing and sends nothing.
    `segments_max` is how many segments of an SMS it takes at most; None means that it sets no limit of its own.
    `calls_max` is how many calls one vendor of it can make at once; None means that it sets no limit of its own.
    `words` and `phrases` say what its refusals mean, each with its source; every other one goes to the next vendor.
    `read_receipts(query, body)` reads one call-back; None means that this provider sends none.
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
        """Return `wanted`, or less where this provider cannot make so many calls at once."""
        return wanted if self.calls_max is None else min(wanted, self.calls_max)

    def refuse_segments(self, vendor: str, wanted: int) -> str | None:
        """The sentence that refuses a limit of segments, or None when this provider takes so many."""
        if self.segments_max is None or wanted <= self.segments_max:
            return None
        at = f"vendors.{vendor}.segments_max"
        return (
            f"{at}: {wanted} is not allowed: {self.name} takes at most {self.segments_max}, and refuses more for good"
        )

    def refuse_channel(self, vendor: str, channel: str) -> str | None:
        """Return the sentence that refuses `channel`, or None if this provider can carry it."""
        if channel in self.channels:
            return None
        return f"vendors.{vendor}.channel: {channel!r} is not allowed: {self.name} has {', '.join(self.channels)}"

    def check(self, vendor: str, options: Mapping[str, Any], unresolved: Mapping[str, str] | None = None) -> BaseModel:
        """Validate resolved `options` and return the model.

        `unresolved` maps options whose reference leads to nothing to the reason; they are reported as such, and not as
        missing. Raises ConfigError with one line for each fault. A value is never shown: it may be a secret.
        """
        at, unresolved = f"vendors.{vendor}.options", unresolved or {}
        faults = [f"{at}.{name}: {reason}" for name, reason in unresolved.items()]
        given = {name: value for name, value in options.items() if value is not None and name not in unresolved}
        try:
            model = self.options.model_validate(given)
        except ValidationError as error:
            for found in error.errors(include_url=False, include_context=False, include_input=False):
                place = [str(part) for part in found["loc"]]
                if not place and unresolved:  # a rule about several options, of which some are not known yet
                    continue
                if not place or place[0] not in unresolved:
                    faults.append(".".join([at, *place]) + self._rule(dict(found), bool(place)))
        if faults:
            raise ConfigError("\n".join(faults))
        return model

    def _rule(self, error: dict[str, Any], has_place: bool) -> str:
        text = str(error["msg"]).removeprefix("Value error, ")
        if not has_place:  # a rule about several options: its text begins with the option to change
            return f".{text}"
        known = ", ".join(self.options.model_fields)
        return ": " + {
            "missing": "is needed",
            "extra_forbidden": f"is no option of this adapter, allowed: {known}",
            "string_type": "must be a text; put a number into quotes",
            "string_too_short": "must not be empty",
            "too_short": "must not be empty",
        }.get(error["type"], text)
