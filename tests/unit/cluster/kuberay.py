"""Judges a RayService by the field tables of KubeRay in tests/data (tests/data/kuberay.md)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

DATA = Path(__file__).parents[2] / "data"
VERSIONS = ("1.5.1", "1.7.0")


def faults(document: Any, version: str) -> list[str]:
    """Return a sentence for each field that KubeRay of this version does not know, or that has a wrong type."""
    return [f"{error.json_path}: {error.message[:300]}" for error in _validator(version).iter_errors(document)]


def pods(document: Any) -> Iterator[Any]:
    """Yield the pod specification of the head and of each worker group of a RayService."""
    cluster = document["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]["spec"]


@cache
def _validator(version: str) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(
        _closed(json.loads(gzip.decompress((DATA / f"kuberay-{version}.json.gz").read_bytes())))
    )


def _closed(schema: Any) -> Any:
    """Return KubeRay's field table as a JSON Schema in which unknown fields are errors."""
    if not isinstance(schema, dict):
        return [_closed(item) for item in schema] if isinstance(schema, list) else schema
    found = {name: _closed(value) for name, value in schema.items()}
    if found.get("x-kubernetes-int-or-string") is True:
        return {**found, "type": ["integer", "string"]}
    if isinstance(found.get("properties"), dict) and not found.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found
