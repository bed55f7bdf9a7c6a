"""Prints the reference of the configuration file, as Markdown, from the JSON Schema of the settings models.

    python -m handbook.configuration

Every object of the schema becomes a table: field, type, default, unit, what is allowed, what it means. The unit is read
from the field's name. The options of each provider follow, from the provider's own model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from dispatcher.adapters.providers import PROVIDERS
from dispatcher.config.setting_descriptions import add_all_descriptions
from dispatcher.config.settings import Settings

Schema = Mapping[str, Any]

UNITS = (  # the first ending that fits
    ("_per_s", "per second"),
    ("_ms", "ms"),
    ("_s", "s"),
    ("_s_max", "s"),
    ("_waits_s", "s"),
    ("bytes_max", "bytes"),
    ("_rate", "%"),
    ("_ratio_max", "part of 1"),
    ("_jitter", "part of 1"),
)
EXACT_UNITS = {"per_s": "s", "redrive.per_s": "per second", "redrive.slow_per_s": "per second"}
HEAD = "| field | type | default | unit | allowed | meaning |\n|---|---|---|---|---|---|"


def reference(settings: Schema, options: Mapping[str, Schema]) -> str:
    """Return the whole reference: the file's sections in order, then the options of each provider by name."""
    parts = [section("The file", settings, settings)]
    parts += [section(f"`{path}`", found, settings, path) for path, found in _objects(settings, settings, "")]
    for name, schema in options.items():
        parts.append(section(f"`options` of {name}", schema, schema))
    return "\n\n".join(parts)


def section(title: str, found: Schema, root: Schema, path: str = "") -> str:
    """Return one object of the schema as a heading and a table."""
    required = found.get("required", [])
    rows = [_row(name, field, root, path, required=name in required) for name, field in found["properties"].items()]
    return "\n".join([f"### {title}", "", HEAD, *rows])


def _objects(found: Schema, root: Schema, at: str) -> Iterator[tuple[str, Schema]]:
    """Yield each object below `found` with its dotted path, depth first."""
    for name, field in found["properties"].items():
        inner, suffix = _object_in(field, root)
        if inner is not None:
            path = f"{at}{name}{suffix}"
            yield path, inner
            yield from _objects(inner, root, f"{path}.")


def _object_in(field: Schema, root: Schema) -> tuple[Schema | None, str]:
    """Return the schema of the object that `field` holds. `field` may also hold a list or a mapping of such objects.
    Return None if there is no object.

    Also return what the path of `field` gets at its end: `[]` for a list, `.NAME` for a mapping, and nothing otherwise.
    """
    field = _resolved(field, root)
    for option in field.get("anyOf", [field]):
        option = _resolved(option, root)
        if "properties" in option:
            return option, ""
        if "items" in option:
            return _object_in(option["items"], root)[0], "[]"
        values = _values(option)
        if values is not None:
            return _object_in(values, root)[0], ".NAME"
    return None, ""


def _values(option: Schema) -> Schema | None:
    """Return the schema of the values of an option that is a mapping.

    Return None if the option is no mapping, or if its values have no schema.
    """
    for patterns in option.get("patternProperties", {}).values():
        return dict(patterns)
    more = option.get("additionalProperties")
    return dict(more) if isinstance(more, dict) and more else None


def _resolved(field: Schema, root: Schema) -> Schema:
    reference = field.get("$ref")
    if reference is None:
        return field
    return {**root["$defs"][reference.rpartition("/")[2]], **{k: v for k, v in field.items() if k != "$ref"}}


def _row(name: str, field: Schema, root: Schema, path: str, *, required: bool) -> str:
    options = [option for option in _options(field, root) if option.get("type") != "null"]
    cells = (
        f"`{name}`",
        " or ".join(dict.fromkeys(_type(option, root) for option in options)),
        "**required**" if required else _default(field.get("default")),
        _unit(name, path),
        "; ".join(filter(None, dict.fromkeys(_allowed(option, root) for option in options))),
        field.get("description", ""),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _options(field: Schema, root: Schema) -> list[Schema]:
    return [_resolved(option, root) for option in _resolved(field, root).get("anyOf", [field])]


def _type(option: Schema, root: Schema) -> str:
    option = _resolved(option, root)
    if option.get("format") == "password":
        return "secret"
    kind = str(option.get("type", "text"))
    if kind == "array":
        return f"list of {_type(option['items'], root)}"
    if kind == "object":
        return "section" if "properties" in option else "mapping"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return names.get(kind, kind)


def _default(value: object) -> str:
    if value is None or value == {} or value == []:
        return "–"
    if isinstance(value, dict):
        return "see below"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        value = [int(item) if isinstance(item, float) and item.is_integer() else item for item in value]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _unit(name: str, path: str) -> str:
    last = path.rpartition(".")[2].removesuffix("[]")
    exact = EXACT_UNITS.get(f"{last}.{name}") or EXACT_UNITS.get(name)
    return exact or next((unit for ending, unit in UNITS if name.endswith(ending)), "")


def _allowed(option: Schema, root: Schema) -> str:
    """Return the values that the schema allows, in words."""
    option = _resolved(option, root)
    if "items" in option:
        inner = _allowed(option["items"], root)
        most = f"at most {option['maxItems']}" if "maxItems" in option else ""
        return ", each ".join(filter(None, (most, inner))) if most else inner
    if "enum" in option:
        return ", ".join(f"`{value}`" for value in option["enum"])
    if "pattern" in option:
        return f"`{option['pattern']}`"
    limits = (
        ("minimum", "from {}"),
        ("exclusiveMinimum", "more than {}"),
        ("maximum", "to {}"),
        ("exclusiveMaximum", "less than {}"),
        ("minLength", "at least {} characters"),
        ("maxLength", "at most {} characters"),
    )
    found = [text.format(_plain(option[key])) for key, text in limits if key in option]
    return " ".join(found).replace("at least 1 characters", "not empty,").rstrip(",")


def _plain(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def settings_schema() -> dict[str, Any]:
    """Return the schema of the configuration file, with a description of each field.

    It leaves out the fields of a vendor's `options`, because they depend on the provider.
    """
    return add_all_descriptions(Settings.model_json_schema(), Settings.__name__)


def options_schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each provider's options, by the provider's name."""
    models = {name: one.options for name, one in PROVIDERS.items()}
    return {name: add_all_descriptions(model.model_json_schema(), model.__name__) for name, model in models.items()}


@click.command(help=__doc__)
def main() -> None:
    click.echo(reference(settings_schema(), options_schemas()))


if __name__ == "__main__":
    main()
