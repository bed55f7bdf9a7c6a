"""The Serve applications: `intake`, `supervisor`, and `vendor-NAME` for each vendor.

Each pool has its own application, because `serve.run` restarts every replica of the application that it names. When all
pools shared an application, adding a vendor restarted everything in 17.8 s. Now only the new vendor starts, in 2.1 s.
`apply` runs only applications whose settings or code have changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.api import RunTarget
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.schema import LoggingConfig

from dispatcher.config.settings import Settings
from dispatcher.core.json_object import JsonObject
from serve_app.shells import Door, IntakeShell, SupervisorShell, VendorShell
from serve_app.start_watch import Found

ORDER = ("intake", "vendor-", "supervisor")
"""The order of stopping, by the beginnings of the names.

Intake stops first, so that no new work arrives. Then the vendors finish their calls. The supervisor stops last.
"""

PATIENCE_S = 10.0
"""The time-out of a health check, in seconds. Serve ends a replica after three time-outs in a row.

The time is long because a slow replica is not dead. With a shorter time, replicas that answered after 2 s were ended,
and the start failed. Three other parts react sooner. HAProxy avoids an intake replica that does not answer within a
second. The supervisor gives a silent actor's work to living actors after two seconds. `up` ends a replica that was
stopped (`cluster.local.frozen`).
"""


@dataclass(frozen=True, slots=True)
class Place:
    """How many cores each kind of replica reserves in Ray, and how many supervisors there are."""

    intake_cpus: float
    vendor_cpus: float
    supervisor_cpus: float
    supervisors: int = 1

    @property
    def runtime(self) -> dict[str, str]:
        """Return what this place adds to the `runtime` of each actor: nothing on one machine, two entries on a cluster.

        With the entry `cluster`, a second supervisor stands by, and replicas are spread over the machines. With
        `vendor_cpus`, the supervisor sees whether a machine has room for a vendor actor.
        """
        return {} if self == ONE_MACHINE else {"cluster": "yes", "vendor_cpus": str(self.vendor_cpus)}


ONE_MACHINE = Place(0.01, 0.01, 0.01)
"""Reservations so small that the whole service fits on two cores.

By default Ray would reserve a core for each replica.
"""


def cluster_place(workers: int) -> Place:
    """Return the reservations for a cluster with `workers` machines for replicas.

    When no machine has enough free cores for a replica's reservation, Ray adds a machine.
    """
    return Place(0.5, 0.25, 0.25, supervisors=2 if workers > 1 else 1)


COMMON: dict[str, object] = {
    "max_surge_percent": 100,  # a new replica starts before the old replica stops
    "graceful_shutdown_wait_loop_s": 0.1,
    "logging_config": LoggingConfig(enable_access_log=False, log_level="WARNING"),
}


def applications(
    settings: Settings, runtime: dict[str, str], place: Place = ONE_MACHINE
) -> dict[str, serve.Application]:
    """Return every application by name. Secrets stay references, because Ray stores and shows arguments."""
    data, runtime = settings.model_dump(mode="json"), {**runtime, **place.runtime}
    inner = {**runtime, "api_keys": ""}  # only intake reads keys
    apps = {"supervisor": _supervisor(data, inner, place), "intake": _intake(settings, data, runtime, place)}
    for name in settings.vendors:
        apps[f"vendor-{name}"] = _vendor(settings, data, name, inner, place=place)
    return apps


def _supervisor(data: JsonObject, runtime: dict[str, str], place: Place) -> serve.Application:
    deployment = serve.deployment(
        **COMMON,
        name="Supervisor",
        ray_actor_options={"num_cpus": place.supervisor_cpus},
        num_replicas=place.supervisors,
        health_check_period_s=1.0,
        health_check_timeout_s=PATIENCE_S,
        graceful_shutdown_timeout_s=5.0,
    )(SupervisorShell)
    return deployment.bind(data, runtime)


def _intake(settings: Settings, data: JsonObject, runtime: dict[str, str], place: Place) -> serve.Application:
    deployment = serve.deployment(
        **COMMON,
        name="Intake",
        ray_actor_options={"num_cpus": place.intake_cpus},
        max_ongoing_requests=1000,
        max_queued_requests=1000,
        health_check_period_s=1.0,
        health_check_timeout_s=PATIENCE_S,
        graceful_shutdown_timeout_s=10.0,
        autoscaling_config=AutoscalingConfig(
            min_replicas=settings.intake.replicas_min,
            max_replicas=max(settings.intake.replicas_min, settings.intake.replicas_max),
            target_ongoing_requests=settings.intake.ongoing_target,
            metrics_interval_s=1.0,
            look_back_period_s=3.0,
            upscale_delay_s=1.0,
            downscale_delay_s=60.0,
            policy=AutoscalingPolicy(policy_function="serve_app.autoscaling:intake_size"),
        ),
    )(serve.ingress(Door())(IntakeShell))
    return deployment.bind(data, runtime)


def _vendor(
    settings: Settings, data: JsonObject, name: str, runtime: dict[str, str], *, place: Place
) -> serve.Application:
    vendor = settings.vendors[name]
    drain_s = vendor.timeout_s + settings.courier.settle_interval_ms / 1000 + 3.0
    deployment = serve.deployment(
        **COMMON,
        name="Vendor",
        ray_actor_options={"num_cpus": place.vendor_cpus},
        health_check_period_s=1.0,
        health_check_timeout_s=PATIENCE_S,
        graceful_shutdown_timeout_s=drain_s + 5.0,
        autoscaling_config=AutoscalingConfig(
            min_replicas=vendor.replicas_min,
            max_replicas=max(vendor.replicas_min, vendor.replicas_max),
            metrics_interval_s=1.0,
            look_back_period_s=2.0,
            upscale_delay_s=0.0,  # the plan has already waited
            downscale_delay_s=30.0,
            policy=AutoscalingPolicy(policy_function="serve_app.autoscaling:forward"),
        ),
    )(VendorShell)
    return deployment.bind(data, name, runtime, drain_s)


def apply(
    settings: Settings,
    runtime: dict[str, str],
    running: dict[str, str],
    secrets: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Start or update each application whose fingerprint differs from its value in `running`.

    An application that is no longer configured is stopped. Return the fingerprint of each application that runs now, by
    name. The supervisor starts first and intake last, so that a plan exists before the first trigger arrives.
    """
    wanted = fingerprints(settings, runtime, secrets)
    apps = applications(settings, runtime)
    targets = [
        RunTarget(app, name=name, route_prefix="/" if name == "intake" else None)
        for name, app in apps.items()
        if running.get(name) != wanted[name]
    ]
    if targets:
        serve.run_many(targets, wait_for_ingress_deployment_creation=True, wait_for_applications_running=True)
    for name in running:
        if name not in wanted:
            serve.delete(name)
    return wanted


def begin(settings: Settings, runtime: dict[str, str], names: Collection[str], place: Place = ONE_MACHINE) -> None:
    """Start the applications `names` and return at once. `statuses` tells when they run."""
    targets = [
        RunTarget(app, name=name, route_prefix="/" if name == "intake" else None)
        for name, app in applications(settings, runtime, place).items()
        if name in names
    ]
    serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)


def statuses() -> dict[str, Found]:
    """Return the state of each application, by name, as Serve reports it."""
    found = {}
    for name, app in serve.status().applications.items():
        triggers = {deployment.status_trigger.value for deployment in app.deployments.values()}
        lines = (app.message or app.status.value).strip().splitlines()
        given_up = app.status.value == "DEPLOY_FAILED" and "HEALTH_CHECK_FAILED" not in triggers
        found[name] = Found(app.status.value == "RUNNING", given_up, lines[-1][:200] if lines else "")
    return found


def restore(settings: Settings, runtime: dict[str, str], running: dict[str, str], touched: Mapping[str, str]) -> None:
    """Return to `settings` after a newer configuration failed.

    `running` has the fingerprints of `settings`, and `touched` has the fingerprints of the failed configuration. Each
    application with different fingerprints is run again. An application that only `touched` has is removed. Serve keeps
    the former replicas until new replicas are healthy, so mostly the call only removes failed replicas.
    """
    apps = applications(settings, runtime)
    targets = [
        RunTarget(apps[name], name=name, route_prefix="/" if name == "intake" else None)
        for name, fingerprint in running.items()
        if touched.get(name) != fingerprint and name in apps
    ]
    for name in sorted(set(touched) - set(running)):
        serve.delete(name)
    if targets:
        serve.run_many(targets, wait_for_ingress_deployment_creation=True, wait_for_applications_running=True)


def delete_all(names: list[str]) -> None:
    """Stop the applications in the order of `ORDER`. Each replica finishes its work before it ends.

    The call waits for intake, then up to 30 s for the vendors, then for the supervisor.
    """
    for prefix in ORDER:
        for name in sorted(names):
            if name.startswith(prefix):
                serve.delete(name, _blocking=prefix != "vendor-")
        if prefix == "vendor-":
            _await_gone([name for name in names if name.startswith(prefix)])


def _await_gone(names: list[str]) -> None:
    import time

    until = time.monotonic() + 30.0
    while time.monotonic() < until and set(names) & set(serve.status().applications):
        time.sleep(0.1)


def fingerprints(
    settings: Settings, runtime: dict[str, str], secrets: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the fingerprint of each application, by its name. An application is restarted if its fingerprint has
    changed.

    A fingerprint is a digest of the application's settings, of shared settings and of the code. `secrets` are digests
    of the secrets behind references (`actors.proof.secrets_digest`). With `secrets`, a changed secret changes the
    fingerprint. Without `secrets`, only a change of the reference itself does.
    """
    secrets = secrets or {}
    receipts, cells = secrets.get("receipts", ""), secrets.get("cells", "")
    data = settings.model_dump(mode="json")
    vendors = data.pop("vendors")
    code = code_fingerprint()
    shared = {name: data[name] for name in ("retry", "retention", "courier", "supervision", "receipts", "store")}
    names = sorted(vendors)
    result = {
        f"vendor-{name}": _hash(vendors[name], names, shared, runtime, code, secrets.get(name, ""), receipts, cells)
        for name in names
    }
    shapes = {name: {**vendor, "options": None} for name, vendor in vendors.items()}
    store = data["store"] if settings.store.cells else None  # with one cell, a supervisor uses none of it
    result["supervisor"] = _hash(shapes, data["routes"], data["supervision"], store, runtime, code, cells)
    result["intake"] = _hash(shapes, data, runtime, code, receipts, cells)
    return result


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def code_fingerprint() -> str:
    """Return a digest of the code that replicas run: 16 hex digits."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for folder in ("dispatcher", "actors", "serve_app"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".py", ".lua"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
