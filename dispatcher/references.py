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
    """Replaces `${NAME}` anywhere in the text, or reads the whole value from `file:/path` (one final newline dropped).

    Errors: `ConfigError` naming the variable or the file, never a content. An empty one counts as missing: an empty
    credential is a deployment mistake that a vendor would only report as 401.
    """
    if value.startswith("file:/"):
        path = value[len("file:") :]
        try:
            content = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{value}: the file cannot be read: {type(error).__name__}") from None
        content = content.removesuffix("\n").removesuffix("\r")
        if not content:
            raise ConfigError(f"{value}: the file is empty")
        return content
    if "${" in _ENV.sub("", value):
        raise ConfigError("a value holds '${' without a name: allowed is ${NAME} of letters, digits and underscores")
    return _ENV.sub(_variable, value)


def _variable(match: re.Match[str]) -> str:
    content = os.environ.get(match[1])
    if not content:
        raise ConfigError(f"${{{match[1]}}}: the environment variable {match[1]} is not set or empty")
    return content


def resolve_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with every string in it resolved, at any depth."""
    return {key: _resolved(value) for key, value in options.items()}


def _resolved(value: Any) -> Any:
    if isinstance(value, str):
        return resolve(value)
    if isinstance(value, Mapping):
        return resolve_options(value)
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    return value
