"""Tells at which address this machine reaches the service, and which installation answers there."""

from __future__ import annotations

import contextlib

from cluster.direct import FAULTS, read_directly


def url_of(host: str, port: int) -> str:
    """Return the address at which this machine reaches a service that listens on `host`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def answering(url: str) -> str | None:
    """Return the id of the installation that is ready at `url`.

    Return "" if the answer names no installation, and None if no service is ready there.
    """
    with contextlib.suppress(*FAULTS):
        told = read_directly(f"{url}/readyz", 2)
        return str(told.get("installation", "")) if isinstance(told, dict) else ""
    return None
