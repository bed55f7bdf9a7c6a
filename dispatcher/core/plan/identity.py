"""The facts about one replica that its reports, its beats and /healthz show."""

from __future__ import annotations

from typing import TypedDict


class Identity(TypedDict, total=False):
    """The names of a replica, its process and its machine. In a simulation some of them are missing.

    `ingress` is `haproxy` or `python-proxy`. `niceness` is the scheduling priority of the replica's process.
    """

    replica: str
    pid: int
    node: str
    ingress: str
    niceness: int
