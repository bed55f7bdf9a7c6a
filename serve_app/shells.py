"""The classes that Serve runs. Each wraps one plain actor; no other class knows that it runs on Ray.

The large imports are inside `__init__`. A new process must lower its priority before this costly work begins. If
`RAY_worker_niceness` is `DISPATCH_NICENESS`, the priority is low from the first instruction. After the imports, intake
and the supervisor take the usual priority, if the system allows it: for root, or with a limit of niceness 0 (systemd:
`LimitNICE=+0`).

Serve calls `__init__`, then health checks, then `__del__`, which finishes the work. Only a stop by Serve calls
`__del__`. A signal to a replica acts like a crash, and a crash loses nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.identity import Identity
from serve_app.priority import set_niceness

if TYPE_CHECKING:
    from starlette.responses import Response

    from serve_app.bodies import Asgi, Receive, Scope, Send
    from serve_app.cluster_nodes import NodeWatch

DISPATCH_NICENESS = 10
"""The niceness of vendor actors. Intake has a higher priority, because a checkout waits for it."""


def identity() -> Identity:
    """Return facts about this replica for reports and /healthz: its name, process, machine, proxy and niceness."""
    import ray
    from ray import serve
    from ray.serve._private import constants

    return {
        "replica": serve.get_replica_context().replica_id.unique_id,
        "pid": os.getpid(),
        "node": ray.get_runtime_context().get_node_id()[:8],
        "ingress": "haproxy" if constants.RAY_SERVE_ENABLE_HA_PROXY else "python-proxy",
        "niceness": os.nice(0),
    }


def no_intake() -> Response:
    """Return the answer of a replica that is no intake to an HTTP request: 503 with `Retry-After`.

    Serve gives every replica an HTTP port. A HAProxy that has not yet heard of an intake replica's death may send a
    trigger to the replica that has its port now. An answer of 2xx would tell the caller that the trigger was accepted.
    """
    from starlette.responses import Response

    return Response("this replica takes no requests\n", 503, {"Retry-After": "1"}, "text/plain")


class _Shell:
    """The life cycle that all three replica classes share.

    Every method is `async`. For each call of a method that is not `async`, Serve would start a thread.
    """

    drain_s = 5.0
    _actor: Any

    async def check_health(self) -> None:
        self._actor.check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        return dict(self._actor.statistics())

    async def __del__(self) -> None:
        await self._actor.stop(self.drain_s)


class VendorShell(_Shell):
    """One replica of a vendor's pool, as Serve runs it."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: JsonObject, vendor: str, runtime: dict[str, str], drain_s: float
    ) -> None:
        self.drain_s = drain_s
        set_niceness(DISPATCH_NICENESS)
        from actors.self_test import prove_courier
        from actors.vendor import VendorActor
        from dispatcher.config.settings import parse_settings

        self._actor = VendorActor(settings, vendor, runtime, identity())
        await prove_courier(parse_settings(settings), vendor)
        await self._actor.start()

    async def __call__(self) -> Response:
        return no_intake()


class SupervisorShell(_Shell):
    """One supervisor, as Serve runs it. On a cluster Serve runs two supervisors, and the second stands by."""

    async def __init__(self, settings: JsonObject, runtime: dict[str, str]) -> None:  # type: ignore[misc]
        from actors.supervisor import SupervisorActor

        set_niceness(0)
        watch = _watch_nodes() if runtime.get("cluster") else None
        self._actor = SupervisorActor(
            *(settings, runtime, identity()),
            nodes=watch.read if watch else tuple,
            free_cpus=watch.free_cpus if watch else dict,
        )
        await self._actor.start()

    async def __call__(self) -> Response:
        return no_intake()


def _watch_nodes() -> NodeWatch:
    import ray
    from ray._private.state import available_resources_per_node

    from serve_app.cluster_nodes import NodeWatch

    watch = NodeWatch(ray.nodes, available_resources_per_node)
    watch.start()
    return watch


class Door:
    """The ASGI application of an intake replica.

    Serve needs this application before the actor exists. Until the actor exists, the application answers 503.
    """

    _application: Asgi | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        found = Door._application
        if found is None:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"1")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await found(scope, receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        kind = message["type"].removeprefix("lifespan.")
        await send({"type": f"lifespan.{kind}.complete"})
        if kind == "shutdown":
            return


class IntakeShell(_Shell):
    """One replica of intake, as Serve runs it."""

    async def __init__(self, settings: JsonObject, runtime: dict[str, str]) -> None:  # type: ignore[misc]
        from actors.intake import IntakeActor
        from serve_app.asgi import application

        set_niceness(0)
        self._actor = IntakeActor(settings, runtime, identity())
        await self._actor.start()
        Door._application = application(self._actor.use_cases, self._actor.keys, self._actor.metrics)
