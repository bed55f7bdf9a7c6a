"""`deploy` checks its own arguments before it contacts the cluster. Then it judges what the nodes report about
themselves.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import grpc  # type: ignore[import-untyped]  # no stubs here
import pytest

from cluster.deploy import Node, Target, _leave, deploy, join, warnings_about
from cluster.local.door import CLOSED, LEAVING
from cluster.node_report import NodeReport
from dispatcher.errors import ConfigError

CONFIG = Path(__file__).parents[3] / "cluster" / "files" / "config-1.yaml"


def nodes(head: NodeReport | None = None, worker: NodeReport | None = None) -> list[Node]:
    found = Node("a", "10.0.0.1", 0.0, True, head or NodeReport(outside_store=True))
    return [found, Node("b", "10.0.0.2", 4.0, False, worker or NodeReport())]


def test_nothing_is_wrong_with_nodes_that_have_everything() -> None:
    """Nodes that have everything cause no error and no warning."""
    assert warnings_about(nodes(), unsafe_redis=False) == []


def test_each_fault_names_its_node() -> None:
    """The error has one line for each fault, so that all can be mended at once. A line names every node with the
    fault.
    """
    secret = "vendors.sms-a.options.auth_token: ${SMS_SECRET}: not set"
    lacks, mute = NodeReport(faults=["RAY_AUTH_MODE is not set", secret]), "the package is not there"
    more = [
        Node("c", "10.0.0.3", 4.0, False, silent=mute),
        Node("d", "10.0.0.4", 4.0, False, NodeReport(faults=["RAY_AUTH_MODE is not set"])),
    ]
    with pytest.raises(ConfigError) as refused:
        warnings_about([*nodes(worker=lacks), *more], False)
    assert str(refused.value).split("\n") == [
        "node 10.0.0.2, node 10.0.0.4: RAY_AUTH_MODE is not set",
        "node 10.0.0.2: vendors.sms-a.options.auth_token: ${SMS_SECRET}: not set",
        "node 10.0.0.3: the package is not there",
    ]


def test_a_redis_that_can_lose_is_refused_unless_told() -> None:
    """A Redis that can lose data is refused.

    With `unsafe_redis` it becomes one warning, although every node reports it.
    """
    unsafe = NodeReport(redis_faults=["appendonly is no"], outside_store=True)
    with pytest.raises(ConfigError, match=r"can lose .*appendonly is no$"):
        warnings_about(nodes(unsafe, unsafe), unsafe_redis=False)
    assert warnings_about(nodes(unsafe, unsafe), unsafe_redis=True) == ["unsafe redis: appendonly is no"]


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (nodes(head=NodeReport()), "RAY_REDIS_ADDRESS"),
        (nodes(worker=NodeReport(key_prefixes=["ab"])), "different keys"),
        (nodes(worker=NodeReport(others=["X is '60', needed is 15"])), "node 10.0.0.2: X is"),
    ],
)
def test_what_goes_on_with_a_word(found: list[Node], word: str) -> None:
    """A head without an outside store, different API keys or another time-out cause a warning, and no error."""
    (warning,) = warnings_about(found, unsafe_redis=False)
    assert word in warning


def test_a_cluster_without_a_machine_for_replicas_is_refused() -> None:
    """A cluster in which no node has CPUs is refused, because no replica could ever start."""
    with pytest.raises(ConfigError, match="no node has CPUs"):
        warnings_about(nodes()[:1], unsafe_redis=False)


def test_too_few_cpus_are_told_before_the_deploy_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workers have too few CPUs. The warning comes before anything starts, and the deploy goes on, because an
    autoscaler may add machines.
    """
    said: list[str] = []

    def apply(*_: object, **__: object) -> dict[str, list[str]]:
        said.append(capsys.readouterr().err)
        return {"running": ["intake"], "changed": []}

    few = [replace(node, cpus=min(node.cpus, 1.0)) for node in nodes()]
    monkeypatch.setattr("cluster.deploy.join", lambda address: None)
    monkeypatch.setattr("cluster.deploy._nodes", lambda ray: few)
    monkeypatch.setattr("cluster.deploy._ask_all", lambda *_: None)
    monkeypatch.setattr("cluster.deploy._tell_all", lambda *_: None)
    monkeypatch.setattr("cluster.deploy._on_head", apply)
    assert deploy(Target("10.0.0.1:6379", "redis://x:6379"), CONFIG)["running"] == ["intake"]
    assert "WARNING: the workers have 1 CPUs, and the replicas reserve 2.25: without a new machine" in said[0]


def test_an_address_that_others_reach_needs_keys() -> None:
    """A public `--host` without `--api-keys` is refused before any cluster is asked."""
    with pytest.raises(ConfigError, match=r"--host 0.0.0.0: .*--api-keys FILE"):
        deploy(replace(Target("127.0.0.1:1", "redis://x:6379"), host="0.0.0.0"), CONFIG)


def test_a_wrong_file_is_found_before_any_cluster_is_asked(tmp_path: Path) -> None:
    """A wrong option in the file is refused with its field.

    A secret that is missing here is no fault, because the replicas may have it.
    """
    wrong = tmp_path / "c.yaml"
    wrong.write_text("vendors: {a: {adapter: smtp, channel: email, options: {sendr: Shop, host: '${NOT_HERE}'}}}")
    with pytest.raises(ConfigError, match=r"vendors\.a\.options\.sendr: is not an option"):
        deploy(Target("127.0.0.1:1", "redis://x:6379"), wrong)


def test_what_is_no_url_of_a_redis_is_refused_before_any_cluster_is_asked() -> None:
    """A wrong `--redis-url` is refused on the machine that deploys. A reference is read on the nodes only."""
    with pytest.raises(ConfigError, match=r"--redis-url: cannot be read"):
        deploy(Target("127.0.0.1:1", "redis://:pass/word@x:6379"), CONFIG)
    with pytest.raises(ConfigError, match=r"no cluster answers"):
        deploy(Target("127.0.0.1:1", "${NOT_HERE_URL}"), CONFIG)


@pytest.fixture
def answering() -> Iterator[Callable[[grpc.StatusCode], str]]:
    """Return a function that starts a gRPC server whose every answer is the given error. It returns the address."""
    servers = []

    def start(code: grpc.StatusCode) -> str:
        class Refusing(grpc.ServerInterceptor):  # type: ignore[misc]
            def intercept_service(self, _: object, call: object) -> object:
                return grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(code, ""))

        server = grpc.server(ThreadPoolExecutor(1), interceptors=[Refusing()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"ray://127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("code", "environment", "said"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, {}, "what answers is no server for Ray's clients, which has port 10001"),
        (grpc.StatusCode.UNAUTHENTICATED, {}, "the cluster asks for its token: set RAY_AUTH_MODE=token"),
        (grpc.StatusCode.UNAUTHENTICATED, {"RAY_AUTH_TOKEN": "a" * 64}, "the cluster has another token than"),
    ],
    ids=["another server of Ray", "no token", "another token"],
)
def test_what_refuses_a_client_is_told_in_a_sentence(
    answering: Callable[[grpc.StatusCode], str],
    monkeypatch: pytest.MonkeyPatch,
    code: grpc.StatusCode,
    environment: dict[str, str],
    said: str,
) -> None:
    """A server that refuses Ray's client, or its token, is told in one sentence without gRPC's own words."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    if environment:
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        join(answering(code))
    assert said in str(refused.value)
    assert "Rpc" not in str(refused.value)


@pytest.mark.parametrize("address", ["head", "head:http", "ray://head", ":6379"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """A wrong cluster address is refused, and the error shows how an address looks."""
    with pytest.raises(ConfigError, match=r"must be HEAD:6379, ray://HEAD:10001"):
        join(address)


def test_auto_without_a_node_here_says_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` where no Ray node runs is refused with an address to use, and not with Ray's advice to set `--address`."""

    def init(**_: object) -> None:
        raise ConnectionError(
            "Could not find any running Ray instance. Please specify the one to connect to by setting `--address` flag"
        )

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(ConfigError) as refused:
        join("auto")
    assert "no Ray node runs on this machine" in str(refused.value)
    assert "ray://HEAD:10001" in str(refused.value) and "--address" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_where_nobody_listens_the_answer_is_quick(scheme: str) -> None:
    """If no cluster listens at the address, `join` raises `ConfigError` soon. Ray itself would try for a minute."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began_s = time.monotonic()
    with pytest.raises(ConfigError, match="no cluster answers"):
        join(f"{scheme}127.0.0.1:{port}")
    assert time.monotonic() - began_s < 30


@pytest.mark.parametrize(
    ("notice_s", "alone", "told"),
    [
        (0.0, True, [(0.0, CLOSED)]),
        (2.5, True, [(0.0, LEAVING), (1.0, LEAVING), (2.0, LEAVING), (2.5, CLOSED)]),
        (1.0, False, [(0.0, ("unready",)), (1.0, ("unready", "closed"))]),
    ],
)
def test_every_node_says_that_the_service_stops_before_it_refuses(
    notice_s: float, alone: bool, told: list[tuple[float, tuple[str, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopping node first answers that it is not ready, and refuses triggers only after the notice time.

    If other applications run on Serve too, only our own routes change, and not Serve's health.
    """
    passed_s, found = 0.0, list[tuple[float, tuple[str, ...]]]()

    def sleep(seconds: float) -> None:
        nonlocal passed_s
        passed_s += seconds

    monkeypatch.setattr("cluster.deploy.time", SimpleNamespace(monotonic=lambda: 50.0 + passed_s, sleep=sleep))
    _leave(lambda words: found.append((passed_s, words)), notice_s, alone=alone)
    assert found == told
