"""Tests that `up` says at once if it cannot listen at its address."""

from __future__ import annotations

import socket

import pytest
from click.testing import CliRunner

from cluster.cli.main import main
from cluster.local.listening import check_port
from dispatcher.errors import ConfigError


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_that_another_program_has_is_named(host: str) -> None:
    """Another program listens at the port. ConfigError names the host and the port at once.

    HAProxy would find this only a minute later.
    """
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            check_port(host, port)
    said = str(caught.value)
    assert said.startswith(f"--host {host} --port {port}: ")
    assert host == "localhost" or "another program listens there; see --port" in said


def test_a_port_with_the_connections_of_an_ended_service_is_free() -> None:
    """A service has ended, and the kernel still knows old connections on its port. The port counts as free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
    accepted.close()  # closed by the server first: its side waits for a minute
    client.close()
    check_port("127.0.0.1", port)


def test_a_name_may_have_an_address_that_this_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name may have an address that this machine lacks, such as ::1 for `localhost` on a machine without IPv6.
    `check_port` ignores such an address.

    If another program listens at one of the name's other addresses, `check_port` raises ConfigError.
    """
    stream = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = [(*stream, ("192.0.2.7", port)), (*stream, ("127.0.0.2", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        check_port("localhost", port)
        found.append((*stream, ("127.0.0.1", port)))
        with pytest.raises(ConfigError, match="another program listens there"):
            check_port("localhost", port)


@pytest.mark.parametrize(("host", "why"), [("192.0.2.7", "see --host"), ("no.such.name.invalid", "see --host")])
def test_an_address_that_this_machine_has_not_is_named(host: str, why: str) -> None:
    """An address of another machine, or a name that does not resolve, raises ConfigError that names host and port."""
    with pytest.raises(ConfigError, match=f"--host {host} --port 8000: .*{why}"):
        check_port(host, 8000)


@pytest.mark.parametrize("port", ["0", "-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    """A number that is no port gives exit code 2, and nothing is started."""
    done = CliRunner().invoke(main, ["up", "--port", port])
    assert done.exit_code == 2 and "--port" in done.output
