"""Reads the settings from the YAML file that operators write.

Rules
-----
1. Plain values are read as in YAML 1.2. `NO` is Norway, `21:00` is a clock time, `2024-01-31` and `1_000` are texts,
   and `010` is ten. PyYAML alone follows YAML 1.1, and would read these values as false, 1260, a date, 1000 and eight.
2. A key that appears twice is refused, and so is an alias that contains itself.
3. A file may be JSON: two escapes such as `\\ud83d\\ude00`, which JSON writes for one emoji, are one character.
4. A section whose lines are all comments has no value, and counts as left out.
5. Aliases cannot make a small file huge. There may be at most `VALUES_MAX` values, at most `DEPTH_MAX` deep.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dispatcher.config.fault_text import names, shown
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.errors import ConfigError

BYTES_MAX = 16_777_216
"""The most bytes of a file. A file with 1,000 templates of 10 KB has some 10 MB."""

VALUES_MAX = 200_000
"""The most values in a file. A file with 1,000 tenants and 1,000 templates has some 20,000."""

DEPTH_MAX = 20
"""The deepest nesting of a file. The settings themselves need nine levels."""


def load_settings(path: Path) -> Settings:
    """Read the file, check it and return the settings.

    Raises `ConfigError` if the file cannot be read, is not YAML or has a key twice, and for every fault that
    `parse_settings` finds. The text for a fault of the YAML gives the line.
    """
    try:
        with path.open("rb") as file:  # it may be a pipe, or a device without an end
            read = file.read(BYTES_MAX + 1)
        if len(read) > BYTES_MAX:
            raise ConfigError(f"{path}: must have at most {BYTES_MAX} bytes")
        text = read.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: must be UTF-8; the byte {error.object[error.start]:#04x} is not") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        data = yaml.load(text, Loader=_Loader)  # _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        rule = UNQUOTED if error.problem == "found unhashable key" else error.problem or error.context
        raise ConfigError(f"{path}: {where}: {rule}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}: line {line}: YAML has no character U+{error.character:04X}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is not YAML: nested deeper than {DEPTH_MAX} levels") from None
    if data is None:
        data = {}
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path}: must be a mapping, and is {shown(data)}; allowed: {names(Settings)}")
    data = {name: value for name, value in data.items() if value is not None or name not in Settings.model_fields}
    fault = _size_fault(data)
    if fault is not None:
        raise ConfigError(f"{path}: {fault}")
    return parse_settings(data)


def _size_fault(data: Any) -> str | None:
    """Return a text that names the limit of size or depth that the file's values exceed, or None if they exceed no
    limit.

    If an alias repeats values, the values count once for each use.
    """
    pending, found = [(data, 1)], 0
    while pending:
        value, depth = pending.pop()
        found += 1
        if depth > DEPTH_MAX:
            return f"must not be nested deeper than {DEPTH_MAX} levels, or have an alias that contains itself"
        if found > VALUES_MAX:
            return f"must have at most {VALUES_MAX} values, with those that aliases repeat"
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
        pending.extend((one, depth + 1) for one in inner)
    return None


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses duplicate keys and reads plain values as YAML 1.2 does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else id(key_node)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_text(self, node: yaml.ScalarNode) -> str:
        text = str(self.construct_scalar(node))
        if _HALF.search(text):  # a half without its other half stays, and is refused where texts are checked
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        return text

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Return the number in `node`. Raises ConstructorError if its text is not a number, such as `!!int x`."""
        text = str(self.construct_scalar(node))
        if _INT.fullmatch(text):
            return int(text, 10)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        raise yaml.constructor.ConstructorError(None, None, "this is not a number", node.start_mark)


UNQUOTED = "a mapping or a list is no name of a field; a text that begins with { or [ needs quotes"
_HALF = re.compile("[\ud800-\udfff]")
_INT = re.compile(r"[-+]?[0-9]{1,18}")
"""The form of a whole number. A longer row of digits is an account number without quotes, and stays a text."""
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]{1,40}\.[0-9]*|\.[0-9]+|[0-9]{1,40}(?=[eE]))(?:[eE][-+]?[0-9]{1,4})?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_KEPT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
_Loader.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT])
}
for _tag, _pattern, _first in (
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("int", re.compile(f"(?:{_INT.pattern})$"), "-+0123456789"),
    ("float", re.compile(f"(?:{_FLOAT.pattern})$"), "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_text)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_text)
