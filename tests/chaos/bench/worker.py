"""Processes to kill: the real actors, forked from a nursery that has imported everything (a tenth of a second each).

`python -m tests.chaos.bench.worker` reads one order per line, JSON, and answers with the process id. It ends with its
standard input, and every process with it.

An order: `role` (intake | supervisor | vendor), `settings`, `runtime`, `log`, for a vendor its `vendor`, for intake its
`port`; and perhaps where it dies: `crash` = {"at": before_send | after_send | after_accept, "nth": n} or
{"at": "before_send", "text": what a message holds}; `skewed`: it reads the store's clock with the skew kept in Redis.
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
from dispatcher.core.life.message import Message
from dispatcher.core.life.outcome import Outcome
from serve_app.ingress import application
from tests import skew

KILLED = 137


def nursery() -> None:
    """Fork a process per line of standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects them
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
    """Until SIGTERM, which drains; an actor whose loop ends is a process that ends, as under Serve."""
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
    """Wherever this process or its scripts read the store's time, add the skew."""
    scripts.script = skew.skewed(scripts.script)  # type: ignore[assignment]
    redis.asyncio.Redis.time = skew.time  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    nursery()
