"""Imports point one way: cluster → serve_app → actors → dispatcher, and inside dispatcher adapters → ports → core."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.sources import FILES, LAYERS, ROOT, below, imports, module


@pytest.fixture(params=FILES, ids=module)
def file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_no_layer_imports_one_above(file: Path) -> None:
    """No layer imports a layer above it, so a change in the command line cannot break the core."""
    layer = LAYERS.index(file.relative_to(ROOT).parts[0])
    above = [name for name in imports(file) if below(name, *LAYERS[layer + 1 :], "benchmarks", "tests")]
    assert above == []


def test_only_serve_app_and_cluster_know_ray(file: Path) -> None:
    """Only `serve_app` and `cluster` import Ray. Everything else runs and is tested without it."""
    if file.relative_to(ROOT).parts[0] not in ("serve_app", "cluster"):
        assert [name for name in imports(file) if below(name, "ray")] == []


def test_the_core_is_pure(file: Path) -> None:
    """The core imports the standard library, itself and the errors, and no module for clocks, randomness or IO."""
    if not below(module(file), "dispatcher.core"):
        return
    for name in imports(file):
        top = name.partition(".")[0]
        if top == "dispatcher":
            assert below(name, "dispatcher.core", "dispatcher.errors"), name
        else:
            assert top in sys.stdlib_module_names, name
            assert top not in ("asyncio", "time", "random", "secrets", "socket", "os", "threading"), name


def test_ports_know_no_adapter(file: Path) -> None:
    """Outside the adapters, no module of `dispatcher` imports an adapter or redis, except that settings read the
    providers' records. Ports import only the core, errors and ports.
    """
    name = module(file)
    if below(name, "dispatcher") and not below(name, "dispatcher.adapters", "dispatcher.core"):
        known = [found for found in imports(file) if below(found, "dispatcher.adapters", "redis")]
        config = ("settings", "schema", "setting_types", "cross_faults")
        if name in {f"dispatcher.config.{part}" for part in config}:
            known = [found for found in known if not below(found, "dispatcher.adapters.providers")]
        assert known == []
    if below(name, "dispatcher.ports"):
        inside = [found for found in imports(file) if below(found, "dispatcher")]
        assert all(below(found, "dispatcher.core", "dispatcher.errors", "dispatcher.ports") for found in inside)


def test_adapters_know_no_loop(file: Path) -> None:
    """An adapter imports values, ports, wire formats, templates and errors, but no loop and no other kind of
    adapter.
    """
    name = module(file)
    if not below(name, "dispatcher.adapters"):
        return
    allowed = ("core", "ports", "errors", "deadline", "wire", "templates", "telemetry.log")
    kind = ".".join(name.split(".")[:3])
    for found in imports(file):
        if below(found, "dispatcher"):
            assert below(found, kind, *(f"dispatcher.{part}" for part in allowed)), found
