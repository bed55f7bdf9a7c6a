"""`dispatcher deploy` and `undeploy`: the service on a Ray cluster that somebody else runs.

Redis must be reachable from every node, and nothing here is private: another life cycle than `up`. Applying again
applies the differences only; what runs is remembered in Redis, beside the work.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import redis

from actors.proof import prove
from cluster.local import redis_checks
from cluster.local.ray_settings import SERVE_SETTINGS
from dispatcher.adapters.redis.keys import Keys
from dispatcher.config.yaml_file import load_settings
from dispatcher.errors import ConfigError

URL_VARIABLE = "DISPATCHER_REDIS_URL"


def deploy(address: str, redis_url: str, config: Path, host: str, port: int, unsafe_redis: bool) -> dict[str, str]:
    """Apply `config` to the cluster at `address` and answer what runs, once it runs.

    `redis_url` may be a reference (`${NAME}` or `file:`) that every node resolves for itself: Ray stores and shows
    arguments, so a password belongs in a reference.
    """
    settings = load_settings(config)
    for unresolved in prove(settings, secrets_elsewhere=True):
        click.echo(f"not checked here, each node resolves it: {unresolved}", err=True)
    client = redis_checks.connect(redis_url)
    for warning in redis_checks.check(client, unsafe_redis):
        click.echo(f"WARNING: unsafe redis: {warning}", err=True)
    serve = _connect(address)
    running = _running(client, set(serve.status().applications))
    serve.start(http_options={"host": host, "port": port}, proxy_location="EveryNode")
    from serve_app.applications import apply

    runtime = {"redis_url": redis_url, "api_keys": "", "warnings": ""}
    done = apply(settings, runtime, running)
    client.set(_key(), json.dumps(done))
    return done


def undeploy(address: str, redis_url: str) -> list[str]:
    """Stop the service's applications in order, drained; what is queued stays in Redis."""
    client = redis_checks.connect(redis_url)
    serve = _connect(address)
    names = sorted(_running(client, set(serve.status().applications)))
    from serve_app.applications import delete_all

    delete_all(names)
    client.delete(_key())
    return names


def _connect(address: str) -> Any:
    # Enough while no Serve runs on the cluster: controller, proxies and replicas take their environment from here.
    os.environ.update({name: os.environ.get(name, value) for name, value in SERVE_SETTINGS.items()})
    import ray
    from ray import serve

    passed = {name: os.environ[name] for name in SERVE_SETTINGS}
    try:
        ray.init(address=address, runtime_env={"env_vars": passed}, logging_level="WARNING", log_to_driver=False)
    except ConnectionError as error:
        raise ConfigError(f"--ray-address {address}: no cluster answers: {error}") from None
    return serve


def _running(client: redis.Redis, applications: set[str]) -> dict[str, str]:
    """Return the applications that an earlier `deploy` started and that still run, with the hash of each."""
    text = client.get(_key())
    known: dict[str, str] = json.loads(str(text)) if text else {}
    return {name: fingerprint for name, fingerprint in known.items() if name in applications}


def _key() -> str:
    return Keys().prefix + "deployed"
