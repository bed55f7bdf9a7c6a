"""The Serve shells: each binds one plain actor to a replica's life. No other class knows that it runs on Ray.

The heavy imports are in `__init__` and not at the top, because a new process must lower its priority before it begins
what costs the most. With `RAY_worker_niceness` at `DISPATCH_NICENESS` its priority is low from its first instruction.
When it has read all code it takes its usual priority, if it may: root may, and a user with a limit of niceness 0
(systemd: `LimitNICE=+0`).

Serve calls `__init__`, then health checks, then `__del__`. Only Serve's own stop calls `__del__`, which drains. A
signal to a replica is a crash, which loses nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from serve_app.priority import set_niceness

if TYPE_CHECKING:
    from serve_app.bodies import Asgi, Receive, Scope, Send

DISPATCH_NICENESS = 10
"""Dispatch has a lower priority than accepting: a checkout waits for intake, and nobody waits for a courier."""


def identity() -> dict[str, Any]:
    """Return the names of this replica, its process and its machine, and how it runs, for reports and /healthz."""
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


class _Shell:
    """The life cycle of all three shells. Every method is `async`: Serve starts a thread for each call of another."""

    drain_s = 5.0
    _actor: Any

    async def check_health(self) -> None:
        self._actor.check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        return dict(self._actor.statistics())

    async def __del__(self) -> None:
        await self._actor.stop(self.drain_s)


class VendorShell(_Shell):
    """One replica of a vendor's pool."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: dict[str, Any], vendor: str, runtime: dict[str, str], drain_s: float
    ) -> None:
        self.drain_s = drain_s
        set_niceness(DISPATCH_NICENESS)
        from actors.self_test import prove_courier
        from actors.vendor import VendorActor
        from dispatcher.config.settings import parse_settings

        self._actor = VendorActor(settings, vendor, runtime, identity())
        await prove_courier(parse_settings(settings), vendor)
        await self._actor.start()

    async def __call__(self) -> str:
        return "a vendor pool takes no requests"


class SupervisorShell(_Shell):
    """The one supervisor."""

    async def __init__(self, settings: dict[str, Any], runtime: dict[str, str]) -> None:  # type: ignore[misc]
        from actors.supervisor import SupervisorActor

        set_niceness(0)
        self._actor = SupervisorActor(settings, runtime, identity(), _nodes() if runtime.get("cluster") else tuple)
        await self._actor.start()

    async def __call__(self) -> str:
        return "the supervisor takes no requests"


def _nodes() -> Callable[[], Collection[str]]:
    import ray

    from serve_app.cluster_nodes import NodeWatch

    watch = NodeWatch(ray.nodes)
    watch.start()
    return watch.read


class Door:
    """The ASGI callable that Serve gets before the actor exists. It finds the replica's actor when it is called."""

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
    """One replica of intake."""

    async def __init__(self, settings: dict[str, Any], runtime: dict[str, str]) -> None:  # type: ignore[misc]
        from actors.intake import IntakeActor
        from serve_app.ingress import application

        set_niceness(0)
        self._actor = IntakeActor(settings, runtime, identity())
        await self._actor.start()
        Door._application = application(self._actor.use_cases, self._actor.keys, self._actor.metrics)
