"""Builders of the applications. A Serve configuration file (`serve deploy` or a KubeRay RayService) names them.

Each kind of application has a builder. `import_path` in the file names the builder. A builder returns the application
that `applications()` makes, so options are written in one place. A builder may run on any node of the cluster, so the
configuration file and the key file must be on every node. Serve builds an application again when its entry in the Serve
file changes. An entry names a configuration file. Serve does not notice a change of that file.

On Kubernetes an entry may name a file before the pods see it, because a changed ConfigMap reaches them after about a
minute. KubeRay sends a failed entry to Serve only once, so a builder waits for such a file.

This module must not have `from __future__ import annotations`. Serve turns `args` into the model that the parameter's
annotation names, and the annotation would be a text.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import ray
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from actors.proof import prove
from dispatcher.config.setting_types import VendorName
from dispatcher.config.yaml_file import load_settings
from dispatcher.errors import ConfigError
from serve_app.applications import applications, cluster_place
from serve_app.cluster_nodes import workers


class Arguments(BaseModel):
    """The fields that each application of serve.yaml has under `args`.

    Ray stores and shows these fields, so a password must be a reference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    config: Path  # the YAML file; a changed file needs a new name, see the module's text
    redis_url: Annotated[str, Field(min_length=1)]  # a reference, ${NAME} or file:/path, resolved by each replica


class IntakeArguments(Arguments):
    api_keys: Path  # the file that `dispatcher key new` writes; mounted from a secret


class VendorArguments(Arguments):
    vendor: VendorName


def intake(args: IntakeArguments) -> serve.Application:
    """Return the intake application.

    Raises `ConfigError` if the key file is missing. Without this check, an intake without keys would serve anybody.
    """
    if not args.api_keys.is_file():
        raise ConfigError(f"api_keys: {args.api_keys} is not there, and without keys anybody may post")
    return _application("intake", args, str(args.api_keys))


def supervisor(args: Arguments) -> serve.Application:
    """Return the supervisor application."""
    return _application("supervisor", args)


def vendor(args: VendorArguments) -> serve.Application:
    """Return the application of one vendor. Raises `ConfigError` if the configuration has no such vendor."""
    return _application(f"vendor-{args.vendor}", args)


def _application(name: str, args: Arguments, api_keys: str = "") -> serve.Application:
    runtime = {"redis_url": args.redis_url, "api_keys": api_keys, "keys_required": "yes", "warnings": ""}
    await_file(args.config)
    settings = load_settings(args.config)
    prove(settings, secrets_elsewhere=True)  # the secrets may be only on other nodes, where replicas run
    found = applications(settings, runtime, cluster_place(_workers()))
    if name not in found:
        raise ConfigError(f"{name}: {args.config} has only {', '.join(sorted(found))}")
    return found[name]


VOLUME_S_MAX = 150.0
"""The most seconds after which a pod sees a changed ConfigMap: kubelet's sync of one minute, and its cache."""


def await_file(path: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until `path` is there, if it lies in a volume that Kubernetes fills. Otherwise return at once.

    Such a volume has the link `..data`, which kubelet replaces to change all files in one step. The wait ends after
    `VOLUME_S_MAX` seconds even if the file is not there. The caller then gets the error of a missing file.
    """
    waited_s = 0.0
    while waited_s < VOLUME_S_MAX and not path.is_file() and (path.parent / "..data").is_dir():
        sleep(1.0)
        waited_s += 1.0


def _workers() -> int:
    """Return how many machines may have replicas.

    If Ray is not running in this process, return 2. A builder runs only for a cluster, and a cluster has at least two
    such machines.
    """
    return len(workers(ray.nodes())) if ray.is_initialized() else 2
