"""Secrets as references: `${NAME}` of the environment, `file:/path` of a file; resolved only where they are used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dispatcher.errors import ConfigError

_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def resolve(value: str) -> str:
    """Replace `${NAME}` anywhere in the text, or read the whole value from `file:/path`.

    White space around a content is dropped: `echo KEY | base64` and most editors leave a line end behind. Errors:
    `ConfigError` naming the variable or the file, never a content. An empty one counts as missing: an empty credential
    is a deployment mistake that a vendor would only report as 401. A control character within is refused, for no
    header, form or address can carry it.
    """
    if value.startswith("file:/"):
        path = value[len("file:") :]
        try:
            content = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{value}: the file cannot be read: {type(error).__name__}") from None
        content = content.strip()
        if not content:
            raise ConfigError(f"{value}: the file is empty")
        return _without_controls(content, f"{value}: the file")
    if "${" in _ENV.sub("", value):
        raise ConfigError("a value holds '${' without a name: allowed is ${NAME} of letters, digits and underscores")
    return _ENV.sub(_variable, value)


def _variable(match: re.Match[str]) -> str:
    content = os.environ.get(match[1], "").strip()
    if not content:
        raise ConfigError(f"${{{match[1]}}}: the environment variable {match[1]} is not set or empty")
    return _without_controls(content, f"${{{match[1]}}}: the environment variable {match[1]}")


def _without_controls(content: str, what: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in content):
        raise ConfigError(f"{what} holds a line end or another control character within")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in content):  # how Python reads bytes that are no UTF-8
        raise ConfigError(f"{what} is not UTF-8")
    return content


def resolve_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with every string in it resolved, at any depth."""
    return {key: _resolved(value) for key, value in options.items()}


def resolve_each(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The options that resolve, and of each other one the reason why it does not."""
    resolved, reasons = dict[str, Any](), dict[str, str]()
    for key, value in options.items():
        try:
            resolved[key] = _resolved(value)
        except ConfigError as error:
            reasons[key] = str(error)
    return resolved, reasons


def _resolved(value: Any) -> Any:
    if isinstance(value, str):
        return resolve(value)
    if isinstance(value, Mapping):
        return resolve_options(value)
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    return value
