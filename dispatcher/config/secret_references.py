"""References to secrets: `${NAME}` is an environment variable, `file:/path` is a file.

A reference is resolved only in the process that uses the secret.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dispatcher.core.json_object import JsonObject
from dispatcher.errors import ConfigError

_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FOREIGN = re.compile(
    r"\$[A-Z_][A-Z0-9_]*|\$\$\{?[A-Z_][A-Z0-9_]*\}?"  # `$$` is how Compose writes a dollar sign
    r"|\$\(.*\)|%[A-Z_][A-Z0-9_]*%|\{\{.*\}\}|env:\w+|file:.*"  # shells, templates, Compose
    r"|(?i:(?:op|vault|ssm|sm|secret|secrets|awssm|gcpsm|gcp-sm|keyvault|akv|doppler|infisical|bao)://.+|(?:vault|ssm):[^/]*/.+"
    r"|arn:aws[\w-]*:(?:secretsmanager|ssm):.+|projects/[^/]+/secrets/.+|@Microsoft\.KeyVault\(.*\)"
    r"|ENC[\[(].*)|<[^<>]*>",  # sealed by sops or Jasypt; a placeholder of a page
    re.DOTALL,
)
"""References in the form of shells, Windows, templates and other programs, and `file:` with a relative path."""
_EDGES = re.compile(r"^[\s\ufeff\u200b\u2060]+|[\s\ufeff\u200b\u2060]+$")
"""White space, byte order marks and zero-width spaces, which editors and copied pages leave at the ends of a text."""
SECRET_BYTES_MAX = 65_536


def resolve(value: str) -> str:
    """Return `value` with each `${NAME}` replaced. If it is `file:/path`, return the content of this file instead.

    White space around a secret is dropped, because `echo KEY | base64` and most editors leave a line end.

    Raises `ConfigError`, which names the variable or the file but never shows a secret, in these cases:

    - The secret is missing, empty or not UTF-8, or the file is too large. A vendor would report an empty secret only as
      401.
    - The secret is in quotes, which `docker run --env-file` keeps.
    - The secret contains a control character or an invisible one.
    - `value` is a reference in another program's form.
    """
    if value.startswith("file:/"):
        path = value[len("file:") :]
        try:
            if not stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would wait for a writer, and gives its text once
                raise ConfigError(f"{value}: is no regular file")
            with Path(path).open("rb") as file:
                read = file.read(SECRET_BYTES_MAX + 1)
            content = _EDGES.sub("", read.decode("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{value}: the file cannot be read: {type(error).__name__}") from None
        if len(read) > SECRET_BYTES_MAX:
            raise ConfigError(f"{value}: the file has more than {SECRET_BYTES_MAX} bytes, so it is no secret")
        if not content:
            raise ConfigError(f"{value}: the file is empty")
        return _sound(content, f"{value}: the file")
    if _FOREIGN.fullmatch(value):
        raise ConfigError("a value looks like a reference of another program; allowed are ${NAME} and file:/path")
    if "${" in _ENV.sub("", value):
        raise ConfigError("a value has '${' without a name; allowed is ${NAME} of letters, digits and underscores")
    return _ENV.sub(_variable, value)


def _variable(match: re.Match[str]) -> str:
    content = _EDGES.sub("", os.environ.get(match[1], ""))
    if not content:
        raise ConfigError(f"${{{match[1]}}}: the environment variable {match[1]} is not set or empty")
    return _sound(content, f"${{{match[1]}}}: the environment variable {match[1]}")


def _sound(content: str, what: str) -> str:
    categories = {unicodedata.category(character) for character in content}
    if categories & {"Cc", "Cf", "Zl", "Zp"}:
        raise ConfigError(f"{what} contains a line end, another control character or an invisible character")
    if "Cs" in categories:  # how Python reads bytes that are no UTF-8
        raise ConfigError(f"{what} is not UTF-8")
    if len(content) > 1 and content[0] == content[-1] and content[0] in "\"'":
        raise ConfigError(f"{what} is in quotes, which `docker run --env-file` does not remove")
    return content


def resolve_options(options: Mapping[str, Any]) -> JsonObject:
    """Return `options` with all references resolved, at any depth. Raises `ConfigError` as `resolve` does."""
    return {key: _resolved(value) for key, value in options.items()}


def resolve_each(options: Mapping[str, Any]) -> tuple[JsonObject, dict[str, str]]:
    """Return two dicts by option name: the values that could be resolved, and the reasons why the others could not."""
    resolved, reasons = JsonObject(), dict[str, str]()
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
