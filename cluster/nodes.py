"""A node of a cluster needs this before Ray starts on it; `dispatcher node prepare FOLDER` writes it.

Every way to a cluster needs the same: `deploy`, serve.yaml, KubeRay and `ray up`. Serve reads its settings where it is
imported, in the controller, the proxies and the replicas alike, so they stand in the environment of `ray start`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cluster.local.ray_settings import RAY_SETTINGS, SERVE_SETTINGS, launcher

HAPROXY = "RAY_SERVE_HAPROXY_BINARY_PATH"
WRAPPER_MARK = "haproxy_wrapper.py"
CLUSTER_SETTINGS = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # by default workers end themselves when the head is away a minute
}
SETTINGS = {**SERVE_SETTINGS, **RAY_SETTINGS, **CLUSTER_SETTINGS}
"""Every variable that each node must have. Another value is told and goes on, except those of `MODE`."""
MODE = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED")
"""With another value half of the service would run in another mode."""


def prepare(folder: Path) -> Path:
    """Write the wrapper for HAProxy and the file of variables, `node.env`, into the folder; return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    wrapper = launcher(folder)
    wrapper.chmod(0o755)  # Ray may run as another user than the one who prepares
    lines = [f"{name}={value}" for name, value in {**SETTINGS, HAPROXY: str(wrapper)}.items()]
    found = folder / "node.env"
    found.write_text(
        "\n".join(
            ["# Written by `dispatcher node prepare`; each line has to be in the environment of Ray.", *lines, ""]
        )
    )
    return found


def setting_faults(environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return what the environment of a node lacks, and what it has otherwise than it was measured; a sentence each."""
    faults, others = list[str](), list[str]()
    for name, needed in SETTINGS.items():
        value = environment.get(name)
        if value is None:
            faults.append(f"{name} is not set, needed is {needed}")
        elif value != needed:
            (faults if name in MODE else others).append(f"{name} is {value!r}, needed is {needed}")
    wrapper = environment.get(HAPROXY)
    if not wrapper:
        faults.append(f"{HAPROXY} is not set; `dispatcher node prepare` makes what it has to name")
    elif not _is_wrapper(Path(wrapper)):
        faults.append(f"{HAPROXY} is {wrapper}, which is not what `dispatcher node prepare` makes")
    return faults, others


def _is_wrapper(path: Path) -> bool:
    try:
        return os.access(path, os.X_OK) and WRAPPER_MARK in path.read_text(errors="replace")[:4000]
    except OSError:
        return False
