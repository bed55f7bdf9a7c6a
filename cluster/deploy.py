"""`dispatcher deploy` and `undeploy`: run and stop the service on a Ray cluster that somebody else operates.

This module connects to the cluster and asks every node for its state. If a node has a fault, the command ends with a
message that names the node and the fault, and nothing is changed. The rest runs on the cluster (`cluster.on_cluster`).
So a laptop can deploy by `ray://HEAD:10001` although it has no connection to Redis and no secrets.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from actors.proof import prove
from cluster.cpu_warnings import cpu_warnings
from cluster.local import https, redis_checks
from cluster.local.door import CLOSED, LEAVING, tell_here
from cluster.node_report import NodeReport, Question
from cluster.on_cluster import Order, Outcome
from dispatcher.config.yaml_file import load_settings
from dispatcher.errors import ConfigError

URL_VARIABLE = "DISPATCHER_REDIS_URL"
CONNECT_S = 3.0
JOIN_S = 6.0
"""The most seconds for joining. Together with CONNECT_S they are under ten, so a wrong address is reported soon."""
TOKEN = "the cluster asks for its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
OTHER_TOKEN = "the cluster has another token than RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH here"
REPORT_S = 60.0
"""The most seconds for a node's answer. A node may have to start a worker first, which takes long on a busy machine."""

TELL_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """The cluster to deploy to (`address`), its Redis, and the host and port where the service shall listen.

    `api_keys` is the path of a key file that exists on every node. An empty path means that calls need no key.
    """

    address: str
    redis_url: str
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: str = ""
    unsafe_redis: bool = False
    wait_s: float = 180.0


@dataclass(slots=True)
class Node:
    """A living node of the cluster and its report. If the node gave no report, `silent` says why."""

    id: str
    address: str
    cpus: float
    head: bool
    report: NodeReport = field(default_factory=NodeReport)
    silent: str = ""

    def __str__(self) -> str:
        return f"node {self.address}{' (head)' if self.head else ''}"


def deploy(target: Target, config: Path) -> Outcome:
    """Apply `config` and return which applications run and which were changed.

    Raises ConfigError in two cases. If the configuration or a node has a fault, nothing was changed. If an application
    does not run in time, some applications may have been changed.
    """
    if target.host not in https.LOOPBACK and not target.api_keys:
        raise ConfigError(
            f"--host {target.host}: others can reach that address, so it needs keys: --api-keys FILE, on every node"
        )
    if "${" not in target.redis_url and not target.redis_url.startswith("file:"):
        redis_checks.connect(target.redis_url)  # connects to nothing yet, and refuses what is no URL
    settings = load_settings(config)
    if fault := https.port_fault(settings, target.port):
        raise ConfigError(fault)
    prove(settings, secrets_elsewhere=True)  # the secrets are where the replicas run; each node is asked for them
    from serve_app.applications import cluster_place, code_fingerprint

    data = settings.model_dump(mode="json")
    with_ray = join(target.address)
    nodes = _nodes(with_ray)
    _ask_all(with_ray, nodes, Question(data, target.redis_url, target.api_keys, code_fingerprint()))
    workers = sum(node.cpus > 0 for node in nodes)
    for warning in (
        *https.warnings(settings, target.host),
        *warnings_about(nodes, target.unsafe_redis),
        *cpu_warnings([node.cpus for node in nodes], settings, cluster_place(workers)),
    ):
        click.echo(f"WARNING: {warning}", err=True)
    place = Order(
        *(data, target.redis_url, target.api_keys, target.host, target.port),
        *(workers, [node.address for node in nodes], target.wait_s),
    )
    from cluster import on_cluster

    click.echo(f"{len(nodes)} nodes were asked, and have what they need; waiting until everything runs", err=True)
    _tell_all(with_ray, nodes, ())  # an `undeploy` that was interrupted may have left doors closed
    return _done(_on_head(with_ray, nodes, on_cluster.apply, asdict(place), seconds=target.wait_s + 60))


def undeploy(address: str, redis_url: str, stop_notice_s: float = 0.0) -> Outcome:
    """Drain and stop the service's applications, one kind after the other. Queued notifications stay in Redis.

    Before that, /readyz of every node answers 503 for `stop_notice_s` seconds while triggers are still accepted.

    Return the names of the stopped applications (`removed`), and of other programs' applications that still run
    (`others`). Raises ConfigError if the cluster or its Redis does not answer.
    """
    with_ray = join(address)
    from cluster import on_cluster

    nodes, order = _nodes(with_ray), {"redis_url": redis_url}
    found = _done(_on_head(with_ray, nodes, on_cluster.find, order, seconds=60.0))
    try:
        if found["running"]:
            _leave(lambda signs: _tell_all(with_ray, nodes, signs), stop_notice_s, alone=not found["others"])
        return _done(_on_head(with_ray, nodes, on_cluster.remove, order, seconds=180.0))
    finally:
        _tell_all(with_ray, nodes, ())


def _leave(tell: Callable[[tuple[str, ...]], None], notice_s: float, *, alone: bool) -> None:
    """Make every node answer 503 to health checks for `notice_s` seconds, so that load balancers leave. Then make every
    node refuse triggers.

    `tell` sends signs to the HAProxy of every node (`cluster.local.door`). If `alone` is False, other applications run
    on Serve too. Then `/-/healthz` still answers 200, because this path is about all applications.
    """
    kept = () if alone else ("unhealthy",)
    until_s = time.monotonic() + notice_s
    while (left_s := until_s - time.monotonic()) > 0:
        tell(tuple(sign for sign in LEAVING if sign not in kept))
        time.sleep(min(1.0, left_s))
    tell(tuple(sign for sign in CLOSED if sign not in kept))


def warnings_about(nodes: list[Node], unsafe_redis: bool) -> list[str]:
    """Return warnings about the nodes. `unsafe_redis` allows a Redis that can lose accepted notifications.

    Raises ConfigError with one line for each fault, which names the nodes that have it.
    """
    having: dict[str, list[str]] = {}
    for node in nodes:
        for fault in [node.silent] if node.silent else node.report.faults:
            having.setdefault(fault, []).append(str(node))
    faults = [f"{', '.join(names)}: {fault}" for fault, names in having.items()]
    unsafe = sorted({fault for node in nodes for fault in node.report.redis_faults})
    if unsafe and not unsafe_redis:
        faults.append(f"this Redis can lose accepted notifications (--unsafe-redis overrides): {'; '.join(unsafe)}")
    if not any(node.cpus > 0 for node in nodes):
        faults.append("no node has CPUs for replicas")
    if faults:
        raise ConfigError("\n".join(faults))
    warnings = [f"unsafe redis: {fault}" for fault in unsafe]
    warnings += [f"{node}: {other}" for node in nodes for other in node.report.others]
    if len({tuple(node.report.key_prefixes) for node in nodes}) > 1:
        warnings.append("--api-keys: the nodes hold different keys; a call is refused where its key is missing")
    if len(nodes) > 1 and not any(node.report.outside_store for node in nodes if node.head):
        warnings.append(
            "Ray keeps its state in the head's memory: when the head is lost, everything ends;"
            " start the head with RAY_REDIS_ADDRESS"
        )
    return warnings


# ---- Ray


def join(address: str) -> Any:
    """Return the module `ray`, connected to the cluster.

    Raises ConfigError if there is no connection. If nothing answers at the address, this takes at most ten seconds.
    """
    if address != "auto":
        _look(address)
    import ray

    _within(
        JOIN_S if not address.startswith("ray://") else 60.0,  # a first client waits for a server of its own
        lambda: _init(ray, address),
        address,
    )
    return ray


def _init(ray: Any, address: str) -> None:
    options = {"address": address, "logging_level": "ERROR", "log_to_driver": False}
    try:
        ray.init(**options)
    except ConnectionAbortedError:  # the head could not start a server for this client; seen once in four tries
        ray.init(**options)


def _look(address: str) -> None:
    """Raise ConfigError if nothing answers at `address`, or if this machine cannot join the cluster through it."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--ray-address {address}: must be HEAD:6379, ray://HEAD:10001, or auto on a node")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--ray-address {address}: no cluster answers: {error}") from None
    _within(JOIN_S, lambda: _ping(address) if address.startswith("ray://") else _join_as_node(address), address)


def _join_as_node(address: str) -> None:
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled

    nodes = GcsClient(address=address).get_all_node_info(timeout=CONNECT_S)
    if not any(_is_here(node.node_manager_address) for node in nodes.values()):
        host = address.rpartition(":")[0]
        raise ConfigError(
            f"--ray-address {address}: this machine is no node of that cluster;"
            f" use ray://{host}:10001, or run this on a node"
        )


def _ping(address: str) -> None:
    """Raise an error if no Ray client server answers at the address, or the server refuses our token.

    Ray itself would try for half a minute.
    """
    import grpc  # type: ignore[import-untyped]  # no stubs here
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    channel = init_grpc_channel(address.removeprefix("ray://"))
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_S)
        question = ray_client_pb2.ClusterInfoRequest(type=ray_client_pb2.ClusterInfoType.PING)
        ray_client_pb2_grpc.RayletDriverStub(channel).ClusterInfo(question, timeout=CONNECT_S)
    except grpc.FutureTimeoutError:
        raise ConfigError(f"--ray-address {address}: no cluster answers: no server of Ray speaks there") from None
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise ConfigError(f"--ray-address {address}: {_token_fault()}") from None
        raise ConfigError(
            f"--ray-address {address}: what answers is no server for Ray's clients, which has port 10001 by default"
        ) from None
    finally:
        channel.close()


def _is_here(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        try:
            s.bind((address, 0))
        except OSError:
            return False
        return True


def _within(seconds: float, do: Callable[[], Any], address: str) -> None:
    """Run `do`, which may block. Raise ConfigError if it fails or takes longer than `seconds`.

    A thread enforces the limit, because Ray has no time limit that can be relied on.
    """
    failed: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise ConfigError(f"--ray-address {address}: no cluster answers within {seconds:g} s")
    if failed and isinstance(failed[0], ConfigError):
        raise failed[0]
    if failed:
        raise ConfigError(f"--ray-address {address}: {_why(failed[0])}") from failed[0]


def _why(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if "oken" in text and ("auth" in text.lower()):
        return _token_fault()
    if "any running Ray instance" in text:  # Ray goes on to name options of its own, which `deploy` does not have
        return "no Ray node runs on this machine; run this on a node, or use ray://HEAD:10001"
    return f"no cluster answers: {text[-300:] or type(error).__name__}"


def _token_fault() -> str:
    has_one = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return OTHER_TOKEN if os.environ.get("RAY_AUTH_MODE") == "token" and has_one else TOKEN


def _nodes(ray: Any) -> list[Node]:
    return [
        Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            float(node["Resources"].get("CPU", 0.0)),
            "node:__internal_head__" in node["Resources"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _ask_all(ray: Any, nodes: list[Node], question: Question) -> None:
    from cluster import node_report

    asked = [(node, _task(ray, node, node_report.report).remote(asdict(question))) for node in nodes]
    for node, reference in asked:
        try:
            node.report = NodeReport(**ray.get(reference, timeout=REPORT_S))
        except ray.exceptions.GetTimeoutError:
            node.silent = f"does not answer within {REPORT_S:g} s"
        except Exception as error:  # any error of a node without our package, or with another version
            text = str(error)
            missing = "ModuleNotFoundError" in text or "No module named" in text
            node.silent = (
                "the package resilient-dispatcher is not installed there, for the Python that runs Ray"
                if missing
                else f"cannot say what it has: {text.strip().splitlines()[-1][:200]}"
            )


def _tell_all(ray: Any, nodes: list[Node], signs: tuple[str, ...]) -> None:
    """Tell the HAProxy of every node the `signs` of a stop, such as `unready` (`cluster.local.door`). An empty `signs`
    takes all earlier signs back.

    The call waits at most `TELL_S` seconds. A node that does not answer in this time is left out, because the node may
    be lost.
    """
    asked = [_task(ray, node, tell_here).remote(list(signs)) for node in nodes]
    ray.wait(asked, num_returns=len(asked), timeout=TELL_S)


def _on_head(ray: Any, nodes: list[Node], do: Callable[..., Any], order: Mapping[str, Any], *, seconds: float) -> Any:
    head = next((node for node in nodes if node.head), nodes[0])
    try:
        return ray.get(_task(ray, head, do).remote(dict(order)), timeout=seconds)
    except ray.exceptions.RayError as error:  # the head ended, is too late, or raised what nobody expected
        said = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ConfigError(
            f"{head} did not finish: {said[0][:300]}; what it began goes on, and the same command may be run again"
        ) from error


def _task(ray: Any, node: Node, do: Callable[..., Any]) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return ray.remote(do).options(num_cpus=0, max_retries=0, scheduling_strategy=here)


def _done(answer: Outcome) -> Outcome:
    for reason in (answer.get("refused"), answer.get("failed")):
        if reason is not None:
            raise ConfigError(reason)
    return answer
