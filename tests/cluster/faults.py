"""Functions that break machines under load, one function for each fault, and measure what the fault costs.

The tests judge the measurements, and `bench` publishes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cluster.rehearsal.drills.play import fresh_checkouts
from tests.cluster.client import Row
from tests.cluster.machines import Machine
from tests.cluster.rig import VENDORS, WORKERS, Rig, Run

RATE = 40.0
LEAD_S = 6.0
"""The seconds of load before the fault."""

CONTROLLER, INTAKE = "ray::ServeController", "ServeReplica:intake"
"""Parts of the command lines of Serve's controller and of an intake replica."""


@dataclass
class Measured:
    """The measurement of one fault. Times are in seconds.

    `later` holds the values that only this fault has, by name.
    """

    fault: str
    accepted_at_first_try: float
    last_failure_s: float
    gap_s: float
    lost: int
    repeated: int
    contradictions: int
    held: int = 0
    refused: int = 0  # triggers that no host accepted within a minute
    back_s: float | None = None
    later: dict[str, Any] = field(default_factory=dict)


def leader(rig: Rig) -> Machine:
    """Return the worker on which the actor of the first SMS vendor runs.

    The loss of this worker has the worst effects.
    """
    found = rig.replicas()
    return rig.machines[found["vendor-sms-a"][0]]


def other(rig: Rig, machine: Machine) -> Machine:
    return next(rig.machines[name] for name in WORKERS if rig.machines[name] is not machine)


def spread(rig: Rig) -> bool:
    """Return True if every application runs, and each channel would survive the loss of one worker.

    Intake and the supervisor must run on both workers. For each channel, the actors of its two vendors must not all be
    on one worker.
    """
    found = rig.replicas()
    if set(found) != {"intake", "supervisor", *(f"vendor-{name}" for name in VENDORS)}:
        return False
    chains = [{*found["vendor-sms-a"], *found["vendor-sms-b"]}, {*found["vendor-email-a"], *found["vendor-email-b"]}]
    doubled = [set(found["intake"]), set(found["supervisor"])]
    return all(places == set(WORKERS) for places in (*chains, *doubled)) and rig.ready()


def worker_off(rig: Rig, policy: str = "resend", load_s: float = 25.0, *, returns: bool = True) -> Measured:
    """Under load, power off the worker machine that runs the actor of the first SMS vendor. Return what was measured.

    With `returns`, switch the machine on again and wait until the replicas are spread over both workers again.
    """
    victim = leader(rig)
    run = load(rig, policy, load_s, (LEAD_S, "off", victim.power_off))
    found = measured("worker off", run, [other(rig, victim)], run.marks["off"])
    if not returns:
        return found
    began_s = time.monotonic()
    victim.start()
    rig.start_ray(victim)
    rig.until(lambda: spread(rig), 120, "the replicas are spread again")
    found.back_s = round(time.monotonic() - began_s, 1)
    return found


def worker_cut_off(rig: Rig, policy: str = "resend", cut_s: float = 10.0) -> Measured:
    """Disconnect the worker with the first SMS vendor's actor for `cut_s` seconds, then connect it again."""
    victim = leader(rig)
    heal_s = LEAD_S + cut_s
    run = load(
        rig,
        policy,
        heal_s + 25.0,
        (LEAD_S, "cut", victim.pull_cable),
        (heal_s, "healed", victim.plug_in),
    )
    found = measured(f"worker cut off {cut_s:g} s", run, [other(rig, victim)], run.marks["cut"])
    end_s = max(row.due_s for row in run.rows)
    found.later |= {"gap_after_heal_s": gap(run, run.marks["healed"], end_s)}
    began_s = time.monotonic()
    rig.until(lambda: spread(rig), 120, "the replicas are spread again")
    found.back_s = round(time.monotonic() - began_s + end_s - run.marks["healed"], 1)
    return found


def split_brain(rig: Rig, policy: str = "hold", cut_s: float = 70.0) -> Measured:
    """Cut one worker off from the other nodes for `cut_s` seconds, under load, and measure the effect.

    The worker is the one on which the actor of the first SMS vendor runs. This worker still reaches Redis, the vendors
    and the callers.
    """
    victim = leader(rig)
    rest = [rig.head, other(rig, victim)]

    def cut() -> None:
        for machine in rest:
            victim.cut_from(machine)
            machine.cut_from(victim)

    def heal() -> None:
        for machine in rest:
            victim.mend_to(machine)
            machine.mend_to(victim)

    run = load(rig, policy, LEAD_S + cut_s + 25.0, (LEAD_S, "cut", cut), (LEAD_S + cut_s, "healed", heal))
    found = measured(f"split brain {cut_s:g} s", run, list(map(rig.machines.__getitem__, WORKERS)), run.marks["cut"])
    found.later |= {"repeated_after_heal": repeats_after(run, run.marks["healed"])}
    return found


def head_off(rig: Rig, policy: str = "resend", away_s: float = 60.0) -> Measured:
    """Power off the head for `away_s` seconds, under load. The head starts again with Ray's state from its Redis.

    The load goes on for a minute after that. On a busy machine Ray needs 10 s for its start on the head. Serve's new
    controller then names the replicas that have answered it within 10 s, and kills those that it has not reached within
    30 s (we raise this to 120 s). Ending earlier would measure none of it.
    """

    def start() -> None:  # in this thread: a machine ends with the thread that started it
        rig.head.start()
        rig.start_ray(rig.head)

    run = load(rig, policy, LEAD_S + away_s + 60.0, (LEAD_S, "off", rig.head.power_off), (LEAD_S + away_s, "on", start))
    found = measured(f"head off {away_s:g} s", run, [rig.w1, rig.w2], run.marks["off"])
    rig.until(lambda: rig.ready() and len(rig.nodes()) == 3, 120, "the cluster is whole")
    return found


def controller_killed(rig: Rig, policy: str = "hold") -> Measured:
    """Kill Serve's controller on the head, under load. Wait until it runs again."""
    (before,) = rig.pids(rig.head, CONTROLLER)
    run = load(rig, policy, LEAD_S + 15.0, (LEAD_S, "killed", lambda: kill(rig.head, before)))
    found = measured("controller killed", run, [rig.w1, rig.w2], run.marks["killed"])
    rig.until(lambda: rig.pids(rig.head, CONTROLLER) not in ([], [before]), 60, "the controller runs again")
    return found


def replace_intake(rig: Rig) -> None:
    """Kill the intake replica of each worker, one after the other, and wait each time for its successor.

    Then wait until the HAProxy of each worker knows successors, and none of the earlier replicas. Raises AssertionError
    if one is not told, or if a worker then accepts no trigger.
    """
    workers = (rig.w1, rig.w2)
    known = {machine.name: rig.known_to_haproxy(machine) for machine in workers}
    for machine in workers:
        (before,) = rig.pids(machine, INTAKE)
        kill(machine, before)
        rig.until(partial(_has_another, rig, machine, before), 60, f"another intake replica is on {machine.name}")
    for machine in workers:
        rig.until(partial(_knows_others, rig, machine, known[machine.name]), 30, f"{machine.name} was told")
        rig.until(partial(rig.accepts, machine), 20, f"{machine.name} accepts")


def _has_another(rig: Rig, machine: Machine, before: int) -> bool:
    return rig.pids(machine, INTAKE) not in ([], [before])


def _knows_others(rig: Rig, machine: Machine, before: set[str]) -> bool:
    known = rig.known_to_haproxy(machine)
    return bool(known) and not known & before


def kill(machine: Machine, pid: int) -> None:
    machine.checked("kill", "-9", str(pid))


def change_one(config: dict[str, Any]) -> None:
    """Change an option of one vendor. Then `deploy` replaces the actors of this vendor and nothing else."""
    config["vendors"]["sms-b"]["options"]["sender"] = "Store"


def change_all(config: dict[str, Any]) -> None:
    """Change one setting of every vendor. Then `deploy` replaces every application, also intake and the supervisor."""
    for vendor in config["vendors"].values():
        vendor["timeout_s"] += 1.0


CHANGES = {"one vendor": change_one, "everything": change_all}


def rolling_change(rig: Rig, what: str, policy: str = "hold", load_s: float = 120.0) -> Measured:
    """Deploy a changed configuration under load. `what` is one of `CHANGES`.

    The load of `load_s` seconds must outlast the deployment, or the figures leave out its end.
    """
    changed: list[str] = []

    def deploy() -> None:
        done = rig.dispatcher(*rig.DEPLOY)
        assert done.returncode == 0, done.stdout + done.stderr + rig.logs()
        changed.extend(line.split()[0] for line in done.stdout.splitlines() if line.endswith(" runs"))

    rig.write_config(edit=CHANGES[what])
    run = load(rig, policy, load_s, (LEAD_S, "deploy", deploy), (LEAD_S, "deployed", lambda: None))
    found = measured(f"{what} changed", run, [rig.w1, rig.w2], run.marks["deploy"])
    found.back_s = round(run.marks["deployed"] - run.marks["deploy"], 1)
    found.later |= {
        "changed": sorted(changed),
        "under_load": run.marks["deployed"] < max(row.due_s for row in run.rows),
    }
    rig.until(lambda: spread(rig), 120, "the replicas are spread again")
    return found


def load(rig: Rig, policy: str, seconds: float, *steps: tuple[float, str, Callable[[], Any]]) -> Run:
    bodies = fresh_checkouts(int(RATE * seconds), on_unknown=policy)
    rig._ask("DELETE", f"http://{rig.outside.address}:8090/_sandbox")
    return rig.load(bodies, RATE, *steps)


def measured(fault: str, run: Run, hosts: list[Machine], since_s: float) -> Measured:
    """Judge a run and return its figures. `since_s` is when the fault began.

    The share of triggers that were accepted at the first try counts only triggers that were first sent to `hosts`.
    """
    addresses = [host.address for host in hosts]
    aimed = [row for row in run.rows if row.first_host in addresses]
    found = run.findings
    return Measured(
        fault,
        round(sum(row.first_status == 202 for row in aimed) / len(aimed), 5),
        round(run.last_failure_s(addresses, since_s), 2),
        gap(run, since_s, max(row.due_s for row in run.rows)),
        len(found.lost),
        found.verdict.repeats,
        len(found.contradictions),
        found.states["held"],
        sum(row.accepted_s is None for row in run.rows),
        later={"first_statuses": _first_statuses(aimed, since_s)},
    )


def _first_statuses(rows: list[Row], since_s: float) -> dict[str, list[int]]:
    """Return when first tries failed, by status, in whole seconds since the fault.

    Status 0 means that no answer came.
    """
    found: dict[str, set[int]] = {}
    for row in rows:
        if row.first_status != 202:
            found.setdefault(str(row.first_status), set()).add(int(row.due_s - since_s))
    return {status: sorted(seconds) for status, seconds in sorted(found.items())}


def gap(run: Run, from_s: float, to_s: float) -> float:
    """Return the longest time, in seconds, in which one of the two channels received nothing."""
    return round(max(run.gap_s(channel, from_s, to_s) for channel in set(VENDORS.values())), 2)


def repeats_after(run: Run, at_s: float) -> int:
    copies = run.findings.verdict.copies.values()
    return sum(moment > at_s for times in copies for moment, _ in times[1:])
