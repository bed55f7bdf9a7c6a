"""`dispatcher deploy` on a cluster of machines: what it refuses, what it starts, and what `undeploy` leaves."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.cluster.rig import NODES, PORT, PYTHON, WORKERS, Rig

pytestmark = pytest.mark.cluster

LOOPBACK = ("--host", "127.0.0.1", "--api-keys", "")
FROM_A_LAPTOP = ("deploy", "--ray-address", "ray://10.77.0.1:10001", *Rig.DEPLOY[3:])


CPUS_IN_USE = """
import ray
ray.init("auto", logging_level="ERROR")
print(ray.cluster_resources()["CPU"] - ray.available_resources()["CPU"])
"""


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Assert that the command exited with 2 and without a traceback. Return its error text."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_node_that_lacks_something_is_refused_by_name(bare: Rig) -> None:
    """A node lacks a variable, a secret and the key file.

    `deploy` names all three with the node's address, and starts nothing.
    """
    bare.write_config()
    bare.make_key()
    bare.w2.power_off()
    bare.w2.start()
    bare.prepare(bare.w2, SMS_SECRET=None, RAY_SERVE_ENABLE_HA_PROXY=None)
    (bare.w2.disk / "keys" / "api_keys.json").unlink()
    bare.start_ray(bare.w2)
    said = refused(bare.dispatcher(*bare.DEPLOY))
    assert "node 10.77.0.3: RAY_SERVE_ENABLE_HA_PROXY is not set, needed is 1" in said
    assert "node 10.77.0.3: vendors.sms-a.options.auth_token: ${SMS_SECRET}" in said
    assert "node 10.77.0.3: --api-keys /tmp/keys/api_keys.json: cannot be read there" in said
    assert "10.77.0.2" not in said and "10.77.0.1" not in said
    assert bare.replicas() == {}


def test_a_node_without_the_package_is_refused_by_name(bare: Rig) -> None:
    """On one node our package is hidden, and Ray runs there. `deploy` is refused and names this node."""
    bare.w2.power_off()
    bare.w2.start()
    bare.prepare(bare.w2)
    bare.make_key()
    bare.w2.checked("mkdir", "-p", "/tmp/nothing")
    bare.w2.checked("mount", "--bind", "/tmp/nothing", "actors")
    bare.start_ray(bare.w2)
    said = refused(bare.dispatcher(*bare.DEPLOY))
    assert "node 10.77.0.3: the package resilient-dispatcher is not installed there" in said
    bare.w2.checked("umount", "actors")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--ray-address", "10.77.0.1:6379"), "this machine is no node of that cluster; use ray://10.77.0.1:10001"),
        (("--ray-address", "10.77.0.99:6379"), "no cluster answers"),
        (("--ray-address", "ray://10.77.0.4:6379"), "no cluster answers"),
    ],
)
def test_from_a_laptop_a_wrong_address_is_told_in_ten_seconds(bare: Rig, words: tuple[str, str], sentence: str) -> None:
    """A machine outside the cluster deploys to a wrong Ray address.

    The command is refused within seconds, with a sentence.
    """
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": bare.token}
    began_s = time.monotonic()
    done = bare.dispatcher("deploy", *words, *bare.DEPLOY[3:], on=bare.outside, env=token)
    assert sentence in refused(done)
    assert time.monotonic() - began_s < 25  # ten seconds, and the start of Python on a busy machine


def test_without_the_token_nobody_deploys(bare: Rig) -> None:
    """Without Ray's token `deploy` is refused, and the error names the token."""
    done = bare.dispatcher(*FROM_A_LAPTOP, on=bare.outside, env={"RAY_AUTH_MODE": "disabled"})
    assert "token" in refused(done)


def test_a_laptop_deploys_and_every_node_serves(bare: Rig) -> None:
    """A machine outside the cluster deploys by `ray://`, without a connection to Redis and without secrets.

    Then every node serves at its own address, and asks for a key.
    """
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": bare.token}
    done = bare.dispatcher(*FROM_A_LAPTOP, on=bare.outside, env=token)
    assert done.returncode == 0, done.stdout + done.stderr + bare.logs()
    for name in NODES:
        bare.until(lambda name=name: bare.ready(bare.machines[name]), 60, f"{name} serves")  # type: ignore[misc]
        status, _ = bare._ask("GET", f"http://{bare.machines[name].address}:{PORT}/v1/plan")
        assert status == 401
    assert bare.place("intake", "supervisor") == {"intake": set(WORKERS), "supervisor": set(WORKERS)}
    listening = bare.w1.checked("sh", "-c", "cat /proc/net/tcp")
    assert f"00000000:{8404:04X}" not in listening, "HAProxy's statistics are open to the network"
    health = json.loads(bare.ask("/healthz")[1])
    assert (health["ingress"], health["niceness"], health["warnings"]) == ("haproxy", 0, [])


def test_again_changes_nothing_and_weakening_is_refused(bare: Rig) -> None:
    """A second `deploy` changes nothing.

    A `deploy` at another port or without keys is refused, and the same replicas continue.
    """
    before = bare.client().hgetall("{nd:0}:actors")
    done = bare.dispatcher(*bare.DEPLOY)
    assert done.returncode == 0 and "vendor-sms-a runs, unchanged" in done.stdout, done.stdout + done.stderr
    elsewhere = refused(bare.dispatcher(*bare.DEPLOY, "--port", "8001"))
    assert "listens at 0.0.0.0:8000" in elsewhere
    assert "needs keys" in refused(bare.dispatcher(*bare.DEPLOY, "--api-keys", ""))
    assert bare.client().hgetall("{nd:0}:actors") == before


def test_ray_would_add_a_machine(bare: Rig) -> None:
    """Our replicas reserve at least 2.5 cores together. So Ray's autoscaler adds a machine when they do not fit on the
    present ones.
    """
    used = float(bare.head.checked(PYTHON, "-c", CPUS_IN_USE).split()[-1])
    assert used >= 2 * 0.5 + 2 * 0.25 + 4 * 0.25


def test_undeploy_removes_all_and_says_what_stays(bare: Rig) -> None:
    """`undeploy` removes all applications and HAProxy, and says that Redis keeps what is queued.

    A second call finds nothing to remove.
    """
    words = ("undeploy", "--ray-address", "auto", "--redis-url", "${DISPATCHER_REDIS_URL}")
    done = bare.dispatcher(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "intake removed" in done.stdout and "Serve removed, its port is free" in done.stdout
    assert "Redis keeps what is queued" in done.stdout
    bare.until(lambda: bare.replicas() == {} and not bare.pids(bare.w1, "haproxy"), 60, "everything is gone")
    again = bare.dispatcher(*words)
    assert "none of our applications was there" in again.stdout, again.stdout + again.stderr
