"""Application builders: a Serve configuration file (`serve deploy`, a KubeRay RayService) names them as `import_path`.

There is one builder for each kind of application. Each returns the application that `applications()` makes, so options
are written in one place. A builder runs on any node of the cluster, so the configuration file and the key file must be
on every node. Serve builds an application again when its own entry of the file changes, but not when a file that the
entry names does.

This module has no `from __future__ import annotations`: Serve reads the parameter's annotation to turn `args` into a
model, and a text would be no model.
"""

from pathlib import Path
from typing import Annotated

import ray
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from actors.proof import prove
from dispatcher.config.kinds import VendorName
from dispatcher.config.yaml_file import load_settings
from dispatcher.errors import ConfigError
from serve_app.applications import applications, cluster_place
from serve_app.cluster_nodes import workers


class Arguments(BaseModel):
    """The fields that every entry has under `args`. Ray stores and shows them: a password belongs in a reference."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    config: Path  # of the YAML file; a changed file gets a new name, see the module's text
    redis_url: Annotated[str, Field(min_length=1)]  # a reference, ${NAME} or file:/path, resolved by each replica


class IntakeArguments(Arguments):
    api_keys: Path  # the file that `dispatcher key new` writes; mounted from a secret


class VendorArguments(Arguments):
    vendor: VendorName


def intake(args: IntakeArguments) -> serve.Application:
    """Return the application of intake. Raises ConfigError without the key file: no key would be asked for."""
    if not args.api_keys.is_file():
        raise ConfigError(f"api_keys: {args.api_keys} is not there, and without keys anybody may post")
    return _application("intake", args, str(args.api_keys))


def supervisor(args: Arguments) -> serve.Application:
    """Return the application of the supervisor."""
    return _application("supervisor", args)


def vendor(args: VendorArguments) -> serve.Application:
    """Return the application of one vendor. Raises ConfigError if the configuration has no such vendor."""
    return _application(f"vendor-{args.vendor}", args)


def _application(name: str, args: Arguments, api_keys: str = "") -> serve.Application:
    runtime = {"redis_url": args.redis_url, "api_keys": api_keys, "keys_required": "yes", "warnings": ""}
    settings = load_settings(args.config)
    prove(settings, secrets_elsewhere=True)  # a builder runs on any node, the secrets are where the replicas run
    found = applications(settings, runtime, cluster_place(_workers()))
    if name not in found:
        raise ConfigError(f"{name}: {args.config} has only {', '.join(sorted(found))}")
    return found[name]


def _workers() -> int:
    """Return how many machines may have replicas; 2 if no Ray can be asked, as these files are for a cluster."""
    return len(workers(ray.nodes())) if ray.is_initialized() else 2
