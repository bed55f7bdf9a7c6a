"""A node is prepared with every variable, and one that lacks something is told by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.nodes import HAPROXY, SETTINGS, prepare, setting_faults


def prepared(folder: Path) -> dict[str, str]:
    lines = prepare(folder).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_a_prepared_node_lacks_nothing(tmp_path: Path) -> None:
    """The file holds every variable, and the wrapper is there to be run."""
    found = prepared(tmp_path / "node")
    assert setting_faults(found) == ([], [])
    assert os.access(found[HAPROXY], os.X_OK)


@pytest.mark.parametrize("name", [*SETTINGS, HAPROXY])
def test_each_variable_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    """Whoever deploys reads which one, and what it has to be."""
    found = prepared(tmp_path)
    del found[name]
    (fault,), others = setting_faults(found)
    assert fault.startswith(f"{name} is not set") and others == []


def test_another_mode_is_a_fault_and_another_time_is_told(tmp_path: Path) -> None:
    """A time-out is the operator's to choose; the mode of the ingress is not."""
    found = prepared(tmp_path)
    faults, others = setting_faults({**found, "RAY_SERVE_ENABLE_HA_PROXY": "0"})
    assert faults == ["RAY_SERVE_ENABLE_HA_PROXY is '0', needed is 1"] and others == []
    faults, others = setting_faults({**found, "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60"})
    assert faults == [] and others == ["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S is '60', needed is 15"]


def test_a_bare_haproxy_is_no_wrapper(tmp_path: Path) -> None:
    """Its statistics would be open to everybody on the network."""
    bare = tmp_path / "haproxy"
    bare.write_text("#!/bin/sh\n")
    bare.chmod(0o755)
    (fault,), _ = setting_faults({**prepared(tmp_path / "node"), HAPROXY: str(bare)})
    assert str(bare) in fault
