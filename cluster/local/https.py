"""Decides where `dispatcher up` listens. With a certificate it listens by HTTPS, and by plain HTTP on loopback only."""

from __future__ import annotations

import os

from actors.proof import certificate_pair
from cluster.local.foreground import say
from cluster.local.listening import check_port
from cluster.local.ray_settings import tls_variables
from cluster.local.readiness import url_of
from dispatcher.config.settings import Settings
from dispatcher.errors import ConfigError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def prepare(settings: Settings, host: str, port: int) -> str:
    """Prepare HTTPS for HAProxy: set the environment variables from which HAProxy's wrapper reads the settings, and
    print warnings.

    Return the address at which this machine itself reaches the service. Raises ConfigError if HTTPS cannot listen at
    its port.
    """
    os.environ.update(tls_variables(settings.tls))
    for warning in warnings(settings, host):
        say(f"WARNING: {warning}")
    pair = certificate_pair(settings)
    for warning in pair.warnings if pair is not None else ():
        say(f"WARNING: {warning}")
    if settings.tls is None:
        return url_of(host, port)
    if fault := port_fault(settings, port):
        raise ConfigError(fault)
    check_port(host, settings.tls.port, "tls.port")
    return url_of("127.0.0.1", port)


def warnings(settings: Settings, host: str) -> list[str]:
    """Return a warning if other machines reach the API at `host` by plain HTTP."""
    if settings.tls is not None or host in LOOPBACK:
        return []
    return [f"--host {host}: keys and messages cross the network unencrypted; see `tls`, or use a proxy with TLS"]


def port_fault(settings: Settings, port: int) -> str | None:
    """Return a sentence if HTTPS and plain HTTP would have the same port."""
    if settings.tls is None or settings.tls.port != port:
        return None
    return f"tls.port: {port} is not allowed: plain HTTP has this port, see --port"


def public_url(settings: Settings, host: str) -> str | None:
    """Return the address at which the service listens by HTTPS, or None without a certificate."""
    return None if settings.tls is None else url_of(host, settings.tls.port).replace("http", "https", 1)


def refuse_change(before: Settings, after: Settings) -> None:
    """Raise ConfigError if a reload would change the section `tls`. New files behind the same names need no reload."""
    if before.tls != after.tls:
        raise ConfigError("tls: it differs, and only a start reads it; the files that it names may change at any time")
