"""Options of an adapter: checked by name and kind, with secrets that do not show themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatcher.errors import ConfigError


class Secret:
    """A value that `repr`, `str` and a traceback do not show."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"


class Options:
    """Takes each option once; what is left over is a mistake."""

    def __init__(self, vendor: str, options: Mapping[str, Any]) -> None:
        self._vendor, self._left = vendor, dict(options)

    def text(self, name: str, default: str | None = None) -> str:
        value = self._left.pop(name, default)
        if not isinstance(value, str) or not value:
            raise self._error(name, "must be a text" if value is not None else "is needed")
        return value

    def secret(self, name: str) -> Secret:
        return Secret(self.text(name))

    def number(self, name: str, default: int) -> int:
        value = self._left.pop(name, default)
        try:
            return int(value)
        except (TypeError, ValueError):
            raise self._error(name, "must be a whole number") from None

    def flag(self, name: str, default: bool) -> bool:
        value = self._left.pop(name, default)
        if not isinstance(value, bool):
            raise self._error(name, "must be true or false")
        return value

    def maybe(self, name: str) -> str | None:
        return self.text(name) if self._left.get(name) is not None else None

    def end(self) -> None:
        self._left = {name: value for name, value in self._left.items() if value is not None}
        if self._left:
            raise self._error(min(self._left), "is no option of this adapter")

    def _error(self, name: str, rule: str) -> ConfigError:
        return ConfigError(f"vendors.{self._vendor}.options.{name}: {rule}")
