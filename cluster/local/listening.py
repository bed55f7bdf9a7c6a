"""Checks before a start whether the wanted address is free to listen on."""

from __future__ import annotations

import errno
import socket
from typing import Any

from dispatcher.errors import ConfigError


def check_port(host: str, port: int, option: str = "--port") -> None:
    """Raise ConfigError if no program can listen at this address now. `option` names the setting of the port.

    HAProxy itself would fail later, with a less clear message.

    A host name may stand for several addresses. Some of them may be missing on this machine, which is common for IPv6.
    But if another program already listens at any of these addresses, ConfigError is raised.
    """
    faults: list[OSError | None] = []
    try:
        for family, kind, protocol, _, place in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
            faults.append(_fault_of_listening(socket.socket(family, kind, protocol), place))
    except OSError as error:  # no such name, or no such kind of address on this machine
        faults.append(error)
    fault = next((found for found in faults if found and found.errno == errno.EADDRINUSE), None)
    if fault is None and (None in faults or not faults):
        return
    fault = fault or next(found for found in faults if found)
    hint = f"another program listens there; see {option}" if fault.errno == errno.EADDRINUSE else "see --host"
    raise ConfigError(f"--host {host} {option} {port}: {fault.strerror} ({hint})")


def _fault_of_listening(opened: socket.socket, place: Any) -> OSError | None:
    try:
        with opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an ended service's connections stay a while
            if opened.family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            opened.bind(place)
            opened.listen()
    except OSError as error:
        return error
    return None
