"""Starts Ray without the processes that nothing here uses.

`ray start` has switches for two of them (`--no-monitor`, `--include-log-monitor`), `ray.init` has none, so the steps
of Ray's own start are replaced. The raylet insists on two agents of its own and waits for their ports. It gets the
ports that Ray writes for a service that is not there, and `cat` in the place of each agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

UNUSED = {
    "start_monitor": "asks a cloud for machines; a private cluster has one",
    "start_log_monitor": "sends the workers' lines to the driver; `cluster.local.event_log` reads them itself",
    "start_api_server": "serves the dashboard, and without it only Ray's usage statistics",
}
"""The step of Ray's start, and what its process would do."""

AGENTS = {
    "dashboard_agent_command": "tells a dashboard of this machine",
    "runtime_env_agent_command": "installs packages for a job that names some; no process here does",
}
"""The option of the raylet, and what its process would do. Without an agent such a job would end the raylet."""

STAND_IN = 'sh -c "exec cat"'
"""`cat` reads a pipe that the raylet never writes to, so it ends with the raylet. The raylet ends with its agents, and
gives them options that the shell ignores."""

PIPED = "RAY_enable_pipe_based_agent_to_parent_health_check"
"""With this setting the raylet keeps a pipe to each agent's standard input open."""

PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
NO_PORT = -1
"""Ray's own agents write this for a service that is not there."""


def leave_out_unused() -> None:
    """Have this process start Ray without them. A step that Ray has no more is passed over: it only saves something."""
    from ray._private import services
    from ray._private.node import Node

    for step in UNUSED:
        if hasattr(Node, step):
            setattr(Node, step, _nothing)
    start = services.start_ray_process

    def start_without_agents(command: list[str], process_type: str, *args: Any, **options: Any) -> Any:
        if process_type == "raylet":
            command = without_agents(command)
        return start(command, process_type, *args, **options)

    services.start_ray_process = start_without_agents


def without_agents(command: Sequence[str]) -> list[str]:
    """Return the raylet's command with a stand-in for each agent, and write the ports for which the raylet waits."""
    told = dict(
        argument.removeprefix("--").split("=", 1)
        for argument in command
        if argument.startswith("--") and "=" in argument
    )
    for name in PORTS:
        (Path(told["session_dir"]) / f"{name}_{told['node_id']}").write_text(str(NO_PORT))
    return [
        f"--{option}={STAND_IN}" if (option := argument.removeprefix("--").split("=", 1)[0]) in AGENTS else argument
        for argument in command
    ]


def _nothing(node: Any, **_: Any) -> None:
    """Stand in for a step of Ray's start."""
