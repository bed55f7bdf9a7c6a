"""Runs processes that a test can kill. They are the real actors, forked from a process that has imported everything.

A fork takes a tenth of a second. `python -m tests.chaos.bench.worker` reads one order as JSON from each line, and
answers with the process id. It ends when its standard input ends, and every forked process ends with it.

An order has `role` (intake, supervisor or vendor), `settings`, `runtime` and `log`. A vendor has `vendor`, and intake
has `port`. Two fields are optional. `crash` says where the process dies:

- {"at": "before_send", "after_send" or "after_accept", "nth": n};
- {"at": "before_send", "text": a text that the message contains}.

With `skewed`, the process reads the store's clock with the skew that is kept in Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from typing import Any

import redis.asyncio
import uvicorn

from actors.intake import IntakeActor
from actors.supervisor import SupervisorActor
from actors.vendor import VendorActor
from dispatcher.adapters.redis import script_calls as scripts
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message
from serve_app.asgi import application
from tests import skew

KILLED = 137


def nursery() -> None:
    """Run the process that forks the tests' processes: read orders from standard input, and fork one process for each
    order.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects ended children
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
        print(pid, flush=True)
    os.killpg(0, signal.SIGKILL)


def _become(order: dict[str, Any]) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(target, number)
    code = 1
    with contextlib.suppress(BaseException):
        if order.get("skewed"):
            _skew_the_clock()
        asyncio.run(_live(order))
        code = 0
    os._exit(code)


async def _live(order: dict[str, Any]) -> None:
    """Run the actor until SIGTERM, then drain. If the actor's loop ends, the process ends too, as under Serve."""
    settings, runtime, crash = order["settings"], order["runtime"], order.get("crash")
    identity = {"replica": str(os.getpid()), "pid": os.getpid(), "node": "", "ingress": "haproxy", "niceness": 0}
    actor: Any
    if order["role"] == "vendor":
        actor = VendorActor(settings, order["vendor"], runtime, identity)
        if crash:
            _die_sending(actor, **crash)
    elif order["role"] == "supervisor":
        actor = SupervisorActor(settings, runtime, identity)
    else:
        actor = IntakeActor(settings, runtime, identity)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await actor.start()
    if order["role"] == "intake":
        if crash:
            _die_accepting(actor, crash["nth"])
        config = uvicorn.Config(
            application(actor.use_cases, actor.keys, actor.metrics),
            port=order["port"],
            lifespan="off",
            log_level="warning",
            access_log=False,
        )
        config.load()
        door = uvicorn.Server(config)
        door.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.ensure_future(door._serve())
    while not stop.is_set():
        actor.check()
        await asyncio.sleep(0.05)
    if order["role"] == "intake":
        door.should_exit = True
        await serving
    await actor.stop(5.0)


def _die_sending(actor: VendorActor, at: str, nth: int = 0, text: str = "") -> None:
    send, calls = actor._vendor.send, 0

    async def dying(message: Message, timeout_s: float) -> Outcome:
        nonlocal calls
        calls += 1
        mine = text in message.text if text else calls == nth
        if mine and at == "before_send":
            os._exit(KILLED)
        outcome = await send(message, timeout_s)
        if mine:
            os._exit(KILLED)
        return outcome

    actor._vendor.send = dying  # type: ignore[method-assign]


def _die_accepting(actor: IntakeActor, nth: int) -> None:
    accept, calls = actor._store.accept, 0

    async def dying(triggers: Any) -> list[str]:
        nonlocal calls
        calls += 1
        words = await accept(triggers)
        if calls == nth:
            os._exit(KILLED)
        return words

    actor._store.accept = dying  # type: ignore[method-assign]


def _skew_the_clock() -> None:
    """Make the store's clock wrong for this process: its own readings and those of its Lua scripts get an offset."""
    scripts.script = skew.skewed(scripts.script)  # type: ignore[assignment]
    redis.asyncio.Redis.time = skew.time  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    nursery()
