"""Before a deployment, each node reports whether it has the certificate that the configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import node_report
from cluster.deploy import Node, warnings_about
from cluster.local.ray_settings import tls_variables
from cluster.node_report import NodeReport, report
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.errors import ConfigError
from tests.key_pairs import issue, write

PAIR = issue(days=(-1, 10))


def asked(settings: Settings, monkeypatch: pytest.MonkeyPatch, prepared: Settings) -> Node:
    """Return a node's report about its TLS settings. Nothing else is checked.

    The node was prepared with the settings `prepared`, and `deploy` asks it about `settings`.
    """
    monkeypatch.setattr(node_report, "_look_at_redis", lambda *_: None)
    monkeypatch.setattr(node_report, "setting_faults", lambda _: ([], []))
    for name in ("_token_faults", "_code_faults"):
        monkeypatch.setattr(node_report, name, lambda *_: [])
    for name, value in tls_variables(prepared.tls).items():
        monkeypatch.setenv(name, value)
    data = settings.model_dump(mode="json")
    told = report({"settings": data, "redis_url": "redis://h", "api_keys": "", "code": ""})
    return Node("1", "192.0.2.7", 4.0, False, NodeReport(**told))


def https(path: Path, port: int = 8443) -> Settings:
    return parse_settings({"tls": {"certificate": str(path), "port": port}})


def test_a_node_with_the_certificate_is_only_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that ends within three weeks causes a warning that names the node, and no error."""
    path = write(tmp_path / "c.pem", PAIR.both)
    (warning,) = warnings_about([asked(https(path), monkeypatch, https(path))], unsafe_redis=False)
    assert warning == f"node 192.0.2.7: tls.certificate: {path}: is valid for only 10 more days"


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read: No such file or directory"), (PAIR.pem, "holds no private key in PEM form")],
)
def test_a_node_without_it_is_named_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    """A certificate file that is missing or does not fit causes one error line with the node and the file."""
    path = tmp_path / "c.pem"
    if content is not None:
        write(path, content)
    node = asked(https(path), monkeypatch, https(path))
    with pytest.raises(ConfigError) as refused:
        warnings_about([node], unsafe_redis=False)
    assert str(refused.value) == f"node 192.0.2.7: tls.certificate: {path}: {why}"


def test_a_node_that_would_listen_in_another_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was prepared with other TLS settings reports each variable that differs."""
    path = write(tmp_path / "c.pem", PAIR.both)
    (fault,) = asked(https(path), monkeypatch, https(path, 9443)).report.faults
    assert fault.startswith("tls: DISPATCHER_TLS_PORT is '9443', needed is 8443; ")
    (fault,) = asked(https(path), monkeypatch, parse_settings({})).report.faults
    assert fault.count("is not set, needed is ") == 3
