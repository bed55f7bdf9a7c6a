"""Starts Ray without the processes that nothing here uses.

`ray start` has options to leave out two of them (`--no-monitor`, `--include-log-monitor`). `ray.init` has no such
options, so functions of Ray that start a process are replaced here.

The raylet also starts two agents, which nothing here uses. In place of each agent it is given the command `cat`. The
raylet waits for files in which the agents write their ports. So this module writes these files, with the value by which
Ray marks a missing service.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

UNUSED = {
    "start_monitor": "asks a cloud for machines; a private cluster has one",
    "start_log_monitor": "sends the workers' lines to the driver; `cluster.local.event_log` reads them itself",
    "start_api_server": "serves the dashboard, and without it only Ray's usage statistics",
}
"""The name of each step of Ray's start that is left out, with the purpose of its process."""

AGENTS = {
    "dashboard_agent_command": "tells a dashboard of this machine",
    "runtime_env_agent_command": "installs packages for a job that names some; no process here does",
}
"""The raylet's option for each agent, with the agent's purpose.

A job that needed one of these agents would end the raylet.
"""

STAND_IN = 'sh -c "exec cat"'
"""The command that runs in place of an agent. The shell ignores the options that the raylet adds.

`cat` reads a pipe to which the raylet never writes, so `cat` ends with the raylet. If an agent ends, the raylet ends.
"""

PIPED = "RAY_enable_pipe_based_agent_to_parent_health_check"
"""With this setting, the raylet keeps a pipe open to each agent's standard input."""

PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
NO_PORT = -1
"""The port number that Ray's own agents write for a missing service."""


def leave_out_unused(also: Callable[[list[str]], list[str]] = list) -> None:
    """Change Ray in this process so that it starts without the processes that the service does not use (`UNUSED`,
    `AGENTS`).

    `also` makes further changes to the raylet's command. A later version of Ray may lack a function that this call
    replaces. Then the call leaves this function out and raises no error.
    """
    from ray._private import services
    from ray._private.node import Node

    for step in UNUSED:
        if hasattr(Node, step):
            setattr(Node, step, _nothing)
    start = services.start_ray_process

    def start_without_agents(command: list[str], process_type: str, *args: Any, **options: Any) -> Any:
        if process_type == "raylet":
            command = also(without_agents(command))
        return start(command, process_type, *args, **options)

    services.start_ray_process = start_without_agents


def without_agents(command: Sequence[str]) -> list[str]:
    """Return the raylet's command line, in which `STAND_IN` replaces the command of each agent.

    The raylet waits for files in which its agents write their ports. This function writes these files instead.
    """
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
    """Return at once. This function replaces a step of Ray's start."""
