"""Runs the part of `deploy` and `undeploy` that belongs on the cluster's head, as a Ray task.

So the machine that deploys only needs a connection to Ray. It needs no connection to Redis and no secrets, and it need
not be a node. Answers are plain values. A refusal is a text under `refused`, because Ray would change an exception's
class on the way back.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

import redis

from cluster.direct import open_directly
from cluster.local import redis_checks
from cluster.local.cell_checks import join
from dispatcher.adapters.redis.keys import Keys
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.core.json_object import JsonObject
from dispatcher.errors import ConfigError
from serve_app.start_watch import Found, StartWatch

FAMILY = ("intake", "supervisor")
POOL = "vendor-"


@dataclass(frozen=True, slots=True)
class Order:
    """The installation that `deploy` is asked to make. `workers` is the number of machines that may have replicas.
    `addresses` names all machines.
    """

    settings: JsonObject
    redis_url: str
    api_keys: str
    host: str
    port: int
    workers: int
    addresses: list[str]
    wait_s: float


class Outcome(TypedDict, total=False):
    """The result of `apply` or `remove`. All names are names of applications.

    `refused` is a sentence that says why nothing was changed. `failed` is a sentence that says what failed after some
    applications may have been changed.
    """

    running: list[str]
    changed: list[str]
    removed: list[str]
    others: list[str]
    refused: str
    failed: str


def apply(order: Mapping[str, Any]) -> Outcome:
    """Start or update the applications that differ from the running ones, and remove those that are no longer wanted.

    Return one of three answers:

    - `running` and `changed` hold the names of the running and of the changed applications.
    - `refused` holds a sentence, and nothing was changed.
    - `failed` holds a sentence, and some applications may have changed.
    """
    from ray import serve

    asked = Order(**order)
    settings = parse_settings(asked.settings)
    refused = _refusal(asked) or _join_refusal(asked.redis_url, settings)
    if refused:
        return {"refused": refused}
    serve.start(http_options={"host": asked.host, "port": asked.port}, proxy_location="EveryNode")
    from serve_app.applications import begin, cluster_place, fingerprints, statuses

    place = cluster_place(asked.workers)
    runtime = {
        "redis_url": asked.redis_url,
        "api_keys": asked.api_keys,
        "keys_required": "yes" if asked.api_keys else "",
        "warnings": "",
    }
    wanted = fingerprints(settings, {**runtime, **place.runtime})
    wanted["supervisor"] += f"/{place.supervisors}"  # a second machine for replicas brings a second supervisor
    client = redis_checks.connect(asked.redis_url)
    running = _known(client, set(serve.status().applications))
    changed = [name for name in wanted if running.get(name) != wanted[name]]
    client.set(_key(), json.dumps({**running, **dict.fromkeys(changed, "begun")}))
    for name in running.keys() - wanted.keys():
        serve.delete(name)
    start = partial(begin, settings, runtime, place=place)
    failed = _wait(wanted, changed, start, statuses, wait_s=asked.wait_s)
    if failed:
        return {"failed": failed}
    client.set(_key(), json.dumps(wanted))
    return {"running": sorted(wanted), "changed": sorted(changed)}


def _wait(
    wanted: Collection[str],
    changed: Collection[str],
    start: Callable[[set[str]], None],
    look: Callable[[], Mapping[str, Found]],
    *,
    wait_s: float,
) -> str:
    """Start the changed applications, and wait until all wanted applications run.

    Return an empty text when they run. Return a sentence if they do not run within `wait_s` seconds, or if one of them
    cannot start. `start` is called again for an application that must be started once more. `look` returns what Serve
    reports about each application.
    """
    watch, missing, until_s = StartWatch(sorted(wanted)), set(changed), time.monotonic() + wait_s
    while True:
        if missing:
            start(missing)
        found = look()
        step = watch.look(found, time.monotonic())
        if step is None:
            return ""
        if step.end or time.monotonic() > until_s:
            late = [f"{name} ({one.reason or one})" for name, one in found.items() if name in wanted and not one.runs]
            return step.end or f"not running within {wait_s:g} s: {', '.join(late)}"
        missing = set(step.again)
        time.sleep(0.2)


def find(order: Mapping[str, str]) -> Outcome:
    """Return our running applications (`running`) and the running applications of other programs (`others`).

    If Redis does not answer, return a sentence (`refused`) instead, because `remove` needs Redis.
    """
    try:
        client = redis_checks.connect(order["redis_url"])
        client.connection_pool.connection_kwargs.update(socket_connect_timeout=3.0, socket_timeout=3.0)
        client.ping()
    except (ConfigError, redis.RedisError) as error:
        return {"refused": f"nothing was removed: {error}"}
    from ray import serve

    there = set(serve.status().applications)
    ours = {name for name in there if name in FAMILY or name.startswith(POOL)}
    return {"running": sorted(ours), "others": sorted(there - ours)}


def remove(order: Mapping[str, str]) -> Outcome:
    """Drain and stop our applications, whoever deployed them: first intake, then the vendor actors, then the
    supervisor.

    If no other application runs on Serve, Serve is stopped too. Return the names of the stopped applications
    (`removed`) and of other programs' applications (`others`). If the removal is refused, nothing is changed, and a
    sentence (`refused`) is returned instead.
    """
    found = find(order)
    if "refused" in found:
        return found
    from ray import serve

    from serve_app.applications import delete_all

    delete_all(found["running"])
    if not found["others"]:
        serve.shutdown()
    redis_checks.connect(order["redis_url"]).delete(_key())
    return {"removed": found["running"], "others": found["others"]}


def _refusal(asked: Order) -> str:
    """Return why this order must not be applied to what runs now, or an empty text if it may be applied."""
    runs = _http_of_serve()
    if runs is None:
        return ""
    host, port = runs
    if (host, port) != (asked.host, asked.port):
        return (
            f"--host {asked.host} --port {asked.port}: Serve runs here and listens at {host}:{port}, which cannot"
            " change while it runs: give these, or `dispatcher undeploy` first"
        )
    if not asked.api_keys and any(_asks_for_keys(address, port) for address in ("127.0.0.1", *asked.addresses)):
        return "--api-keys: what runs here asks for keys, and this would open it to everybody: give the key file"
    return ""


def _join_refusal(redis_url: str, settings: Settings) -> str:
    """Let new cells join the installation. Return why the servers are not its cells, or an empty text."""
    try:
        join(redis_url, settings.store)
    except ConfigError as error:
        return str(error)
    return ""


def _http_of_serve() -> tuple[str, int] | None:
    """Return the host and port where the running Serve listens, or None if Serve does not run."""
    from ray.serve._private.api import _get_global_client

    try:
        client = _get_global_client(raise_if_no_controller_running=False)
    except Exception:  # a controller that is being replaced
        return None
    if client is None:
        return None
    options = client.http_config
    return str(options.host), int(options.port)


def _asks_for_keys(address: str, port: int) -> bool:
    try:
        with open_directly(f"http://{address}:{port}/v1/plan", 3) as answer:
            return bool(answer.status == 401)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def _known(client: redis.Redis, applications: set[str]) -> dict[str, str]:
    """Return the fingerprints of applications by name, as an earlier `deploy` stored them.

    Only applications in `applications` are included, which still run.
    """
    text = client.get(_key())
    known: dict[str, str] = json.loads(str(text)) if text else {}
    return {name: fingerprint for name, fingerprint in known.items() if name in applications}


def _key() -> str:
    return Keys().prefix + "deployed"
