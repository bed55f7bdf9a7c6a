"""A node is prepared with every variable, and each missing variable is reported by name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cluster.local.haproxy_tls import PORT, VARIABLES
from cluster.nodes import HAPROXY, SETTINGS, prepare, setting_faults, tls_faults
from dispatcher.config.settings import TlsSettings, parse_settings


def prepared(folder: Path, tls: TlsSettings | None = None) -> dict[str, str]:
    lines = prepare(folder, tls).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_a_prepared_node_lacks_nothing(tmp_path: Path) -> None:
    """`node prepare` writes a file of environment variables. The file has every variable that a node needs, and the
    HAProxy wrapper that it names can be executed.
    """
    found = prepared(tmp_path / "node")
    assert setting_faults(found) == ([], [])
    assert os.access(found[HAPROXY], os.X_OK)


@pytest.mark.parametrize("name", [*SETTINGS, HAPROXY])
def test_each_variable_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    """A missing variable is one fault that begins with its name."""
    found = prepared(tmp_path)
    del found[name]
    (fault,), others = setting_faults(found)
    assert fault.startswith(f"{name} is not set") and others == []


def test_another_mode_is_a_fault_and_another_time_is_told(tmp_path: Path) -> None:
    """A node has another ingress mode than the service needs: this is a fault. A node has another time-out: this is
    only reported, because operators may choose the time-out.
    """
    found = prepared(tmp_path)
    faults, others = setting_faults({**found, "RAY_SERVE_ENABLE_HA_PROXY": "0"})
    assert faults == ["RAY_SERVE_ENABLE_HA_PROXY is '0', needed is 1"] and others == []
    faults, others = setting_faults({**found, "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60"})
    assert faults == [] and others == ["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S is '60', needed is 15"]


def test_a_bare_haproxy_is_no_wrapper(tmp_path: Path) -> None:
    """A plain HAProxy in place of the wrapper is a fault, because its statistics would be open to the network."""
    bare = tmp_path / "haproxy"
    bare.write_text("#!/bin/sh\n")
    bare.chmod(0o755)
    (fault,), _ = setting_faults({**prepared(tmp_path / "node"), HAPROXY: str(bare)})
    assert str(bare) in fault


TLS = parse_settings({"tls": {"certificate": "/etc/c.pem", "key": "/etc/k.pem", "version_min": "1.3"}}).tls


def test_a_node_is_prepared_for_https(tmp_path: Path) -> None:
    """The prepared variables are those of the `tls` settings.

    A node whose variables are missing or differ has one fault, which names them all.
    """
    found = prepared(tmp_path, TLS)
    assert [found[name] for name in VARIABLES] == ["/etc/c.pem", "/etc/k.pem", "8443", "1.3"]
    assert tls_faults(TLS, found) == []
    assert not set(VARIABLES) & prepared(tmp_path).keys()
    (missing,) = tls_faults(TLS, {})
    assert re.findall(r"(\w+) is not set, needed is ", missing) == list(VARIABLES)
    assert missing.startswith("tls: ") and "is not set, needed is /etc/c.pem" in missing
    assert "; `dispatcher node prepare FOLDER --config FILE`" in missing
    (other,) = tls_faults(TLS, {**found, PORT: "9443"})
    assert other.startswith("tls: DISPATCHER_TLS_PORT is '9443', needed is 8443; ")
    (superfluous,) = tls_faults(None, found)
    assert superfluous.count("needed is nothing") == 4  # the configuration would say HTTP, and the node speaks HTTPS
