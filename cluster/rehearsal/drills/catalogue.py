"""The catalogue of drills: what each drill breaks, for how long, and how it is repaired."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cluster.local.service import Service

FIRST, SECOND = "sms-a", "sms-b"
"""The SMS chain of the sandbox's configuration, in its order. Most drills break the first vendor."""
EVERY = (FIRST, SECOND, "email-a", "email-b")


@dataclass(frozen=True, slots=True)
class Drill:
    """One fault: `begin` starts it and `end` repairs it after `seconds`.

    `sick` names the vendors whose own call log shows the failover. `repeats` names the vendors whose messages may be
    repeated if they are in flight or unsettled when the fault begins. `wakes` is True if the fault only stops the
    process that calls these vendors (SIGSTOP), and the process continues at the end of the fault.
    """

    name: str
    about: str
    seconds: float
    begin: Callable[[Service], None]
    end: Callable[[Service], None] = lambda service: None
    sick: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    wakes: bool = False


def _fault(mode: str, *vendors: str, ratio: float = 1.0) -> Callable[[Service], None]:
    def put(service: Service) -> None:
        for vendor in vendors:
            service.fault(vendor, mode=mode, ratio=ratio)

    return put


def _signal(process: str, number: signal.Signals = signal.SIGKILL, most: int = 1) -> Callable[[Service], None]:
    def send(service: Service) -> None:
        for pid in service.pids(process)[:most]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    return send


def _kill_haproxy(service: Service) -> None:
    for pid in service.haproxy_pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _kill_redis(service: Service) -> None:
    for pid in service.redis_pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Flap:
    """Makes a vendor fail and work by turns, each for `period_s` seconds. The window of its breaker is longer than a
    period.
    """

    def __init__(self, vendor: str, period_s: float = 2.0) -> None:
        self._vendor, self._period_s = vendor, period_s
        self._over = threading.Event()

    def begin(self, service: Service) -> None:
        self._over.clear()
        threading.Thread(target=self._run, args=(service,), daemon=True).start()

    def end(self, service: Service) -> None:
        self._over.set()
        service.fault(self._vendor, mode="none")

    def _run(self, service: Service) -> None:
        bad = True
        while not self._over.is_set():
            service.fault(self._vendor, mode="error" if bad else "none")
            bad = not bad
            self._over.wait(self._period_s)
        service.fault(self._vendor, mode="none")


class Hogs:
    """Six busy processes for each core, so that the service seldom gets a core when it needs one."""

    def __init__(self) -> None:
        self._busy: list[subprocess.Popen[bytes]] = []

    def begin(self, service: Service) -> None:
        command = [sys.executable, "-c", "while True: pass"]
        self._busy = [subprocess.Popen(command) for _ in range(6 * (os.cpu_count() or 2))]

    def end(self, service: Service) -> None:
        for process in self._busy:
            process.kill()
            process.wait()


def _start_again(service: Service) -> None:
    service.start()


_flap, _hogs = Flap(FIRST), Hogs()
_heal = _fault("none", FIRST, SECOND)

DRILLS = {
    drill.name: drill
    for drill in (
        Drill("vendor-error", f"{FIRST} answers 500 to everything", 8, _fault("error", FIRST), _heal, (FIRST,)),
        Drill("vendor-hang", f"{FIRST} accepts calls and never answers", 20, _fault("hang", FIRST), _heal, (FIRST,)),
        Drill(
            "vendor-half", f"{FIRST} fails every second call", 60, _fault("error", FIRST, ratio=0.5), _heal, (FIRST,)
        ),
        Drill("vendor-flap", f"{FIRST} fails and recovers every 2 s", 16, _flap.begin, _flap.end, (FIRST,)),
        Drill(
            "all-vendors-down", "both SMS vendors answer 500", 8, _fault("error", FIRST, SECOND), _heal, (FIRST, SECOND)
        ),
        Drill(
            "actor-kill",
            f"the actor of {FIRST} is killed",
            6,
            _signal(f"ServeReplica:vendor-{FIRST}"),
            repeats=(FIRST,),
        ),
        Drill(
            "actor-freeze",
            f"the actor of {FIRST} stops for 5 s (SIGSTOP) and wakes",
            5,
            _signal(f"ServeReplica:vendor-{FIRST}", signal.SIGSTOP),
            _signal(f"ServeReplica:vendor-{FIRST}", signal.SIGCONT),
            repeats=(FIRST,),
            wakes=True,
        ),
        Drill("supervisor-kill", "the supervisor is killed", 6, _signal("ServeReplica:supervisor")),
        Drill("intake-kill", "one of two intake replicas is killed", 6, _signal("ServeReplica:intake")),
        Drill("redis-restart", "Redis is killed and started again", 6, _kill_redis, repeats=EVERY),
        Drill(
            "stack-kill",
            "everything is killed at once, and `up` is called again",
            0,
            Service.kill_everything,
            _start_again,
            repeats=EVERY,
        ),
        Drill("cores-taken", "others want every core for 10 s", 10, _hogs.begin, _hogs.end),
        Drill("proxy-kill", "haproxy is killed", 8, _kill_haproxy),
        Drill("proxy-wrapper-kill", "haproxy is killed with its wrapper", 8, _signal("haproxy_wrapper.py", most=9)),
    )
}
NO_STORM = {
    "stack-kill": "nothing else is left to break, and it takes a start of 20 s",
    "vendor-half": "it shows in a minute, and a fault of the storm lasts ten seconds",
    "cores-taken": "every figure of that time would be the machine's",
    "proxy-kill": "one machine has one ingress: without it callers are refused, whatever else is well",
    "proxy-wrapper-kill": "the same, for five seconds",
}
"""The drills that the storm leaves out, each with the reason."""
STORM = tuple(name for name in DRILLS if name not in NO_STORM)
"""The drills from which the storm chooses at random."""


def draw(chance: random.Random) -> Drill:
    return DRILLS[chance.choice(STORM)]
