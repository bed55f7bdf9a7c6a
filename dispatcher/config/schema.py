"""The JSON Schema of the configuration file, for editors. It covers the options of every provider.

The options of a vendor depend on its provider. So the schema has a part for each provider, and the vendor's property
`adapter` says which part applies to it.
"""

from __future__ import annotations

from pydantic.json_schema import JsonSchemaValue

from dispatcher.adapters.providers import all_providers
from dispatcher.adapters.providers.provider import Provider
from dispatcher.config.setting_descriptions import add_all_descriptions, add_descriptions
from dispatcher.config.settings import Settings, VendorSettings

REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|^file:/", "description": "a reference"}


def settings_schema() -> JsonSchemaValue:
    """Return the JSON Schema of the whole file.

    In place of each option of a vendor, a reference to a secret is allowed, and so is null, which counts as leaving the
    option out. There is one schema of a vendor for each provider. A vendor's property `adapter` says which schema
    applies.
    """
    schema = add_all_descriptions(Settings.model_json_schema(), Settings.__name__)
    providers = [one for _, one in sorted(all_providers().items()) if isinstance(one, Provider)]
    common = schema["$defs"].pop(VendorSettings.__name__)
    for one in providers:
        schema["$defs"][f"vendor_{one.name}"] = _vendor(common, one)
    shapes = [{"$ref": f"#/$defs/vendor_{one.name}"} for one in providers]
    mapping = {one.name: f"#/$defs/vendor_{one.name}" for one in providers}
    vendors = schema["properties"]["vendors"]
    for place in ("patternProperties", "additionalProperties"):
        if place in vendors:
            shape = {"oneOf": shapes, "discriminator": {"propertyName": "adapter", "mapping": mapping}}
            vendors[place] = dict.fromkeys(vendors[place], shape) if place == "patternProperties" else shape
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Dispatcher configuration"}


def _vendor(common: JsonSchemaValue, one: Provider) -> JsonSchemaValue:
    options = add_descriptions(one.options.model_json_schema(), one.options.__name__)
    options["properties"] = {name: _or_reference(field) for name, field in options["properties"].items()}
    definitions = options.pop("$defs", {})
    assert not definitions, f"{one.name}: options are flat, so that references can stand for each"
    properties = {
        **common["properties"],
        "adapter": {"const": one.name, "type": "string"},
        "channel": {"enum": list(one.channels), "type": "string"},
        "options": options,
    }
    required = [*common.get("required", []), *(["options"] if options.get("required") else [])]
    return {**common, "title": f"A vendor of {one.name}", "properties": properties, "required": required}


def _or_reference(field: JsonSchemaValue) -> JsonSchemaValue:
    kept: JsonSchemaValue = {name: field[name] for name in ("title", "default", "description") if name in field}
    value = {name: part for name, part in field.items() if name not in kept}
    if value.get("type") == "string" and not set(value) & {"pattern", "enum", "const", "maxLength"}:
        return {**kept, **value}  # a reference is a text already
    return {**kept, "anyOf": [*value.get("anyOf", [value]), REFERENCE]}
