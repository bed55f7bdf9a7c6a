"""Starts Ray without the processes that nothing here uses.

`ray start` has switches for two of them (`--no-monitor`, `--include-log-monitor`), `ray.init` has none, so the steps
of Ray's own start are replaced. The three cost 160 MiB and a hundredth of a core, and `ray.init` waits for the last.
"""

from __future__ import annotations

from typing import Any

UNUSED = {
    "start_monitor": "asks a cloud for machines; a private cluster has one",
    "start_log_monitor": "sends the workers' lines to the driver; `cluster.local.event_log` reads them itself",
    "start_api_server": "serves the dashboard, and without it only Ray's usage statistics",
}
"""The step of Ray's start, and what its process would do."""


def leave_out_unused() -> None:
    """Have this process start Ray without them. A step that Ray has no more is passed over: it only saves something."""
    from ray._private.node import Node

    for step in UNUSED:
        if hasattr(Node, step):
            setattr(Node, step, _nothing)


def _nothing(node: Any, **_: Any) -> None:
    """Stand in for a step of Ray's start."""
