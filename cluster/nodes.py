"""Writes the settings that a machine needs before Ray starts on it as a node, for `dispatcher node prepare FOLDER`.

Every kind of cluster needs the same settings: `deploy`, serve.yaml, KubeRay and `ray up`. Serve reads its settings when
it is imported, in the controller, the proxies and the replicas. So all settings must be in the environment of `ray
start`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cluster.local.ray_settings import RAY_SETTINGS, SERVE_SETTINGS, launcher, tls_variables
from cluster.local.worker_forks import PYTHON_SETTINGS
from dispatcher.config.settings import TlsSettings

HAPROXY = "RAY_SERVE_HAPROXY_BINARY_PATH"
WRAPPER_MARK = "haproxy_wrapper.py"
CLUSTER_SETTINGS = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # by default workers end themselves when the head is away a minute
    # gRPC gives a connection up when nothing was acknowledged for so long. Ray's 120 s are longer than an outage of the
    # head: after it, processes would wait for TCP to send again, up to 102 s after the loss.
    "RAY_grpc_client_keepalive_timeout_ms": "20000",
}
SETTINGS = {**SERVE_SETTINGS, **RAY_SETTINGS, **CLUSTER_SETTINGS}
"""The variables that each node must have.

A node with another value gets a warning, and the deployment continues. For a variable in `MODE` it is a fault.
"""
REPAIR = "`dispatcher node prepare FOLDER --config FILE` writes the variables, and Ray there has to start with them"
MODE = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED")
"""The variables for which another value is a fault. Half of the service would otherwise run in another mode."""


def prepare(folder: Path, tls: TlsSettings | None = None) -> Path:
    """Write the wrapper for HAProxy and the file `node.env` into `folder`. Return the path of `node.env`.

    With `tls`, HAProxy on this node listens by HTTPS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wrapper = launcher(folder)
    wrapper.chmod(0o755)  # Ray may run as another user than the one who prepares
    https = {name: value for name, value in tls_variables(tls).items() if value}
    variables = {**SETTINGS, **PYTHON_SETTINGS, HAPROXY: str(wrapper), **https}
    lines = [f"{name}={value}" for name, value in variables.items()]
    found = folder / "node.env"
    found.write_text(
        "\n".join(
            ["# Written by `dispatcher node prepare`; each line has to be in the environment of Ray.", *lines, ""]
        )
    )
    return found


def setting_faults(environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return two lists of sentences about a node's environment.

    The first list holds the faults. The second list holds the values that differ from `SETTINGS` without being faults.
    """
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


def tls_faults(tls: TlsSettings | None, environment: Mapping[str, str]) -> list[str]:
    """Return one sentence if variables of a node differ from the section `tls` of the configuration, and otherwise
    none. The sentence names each of them.

    HAProxy reads the variables, so the node would listen in another way than the configuration says.
    """
    differ = []
    for name, needed in tls_variables(tls).items():
        value = environment.get(name, "")
        if value != needed:
            now = f"is {value!r}" if value else "is not set"
            differ.append(f"{name} {now}, needed is {needed or 'nothing'}")
    return [f"tls: {', '.join(differ)}; {REPAIR}"] if differ else []


def _is_wrapper(path: Path) -> bool:
    try:
        return os.access(path, os.X_OK) and WRAPPER_MARK in path.read_text(errors="replace")[:4000]
    except OSError:
        return False
