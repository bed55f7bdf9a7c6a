"""Warns before a deploy if the workers' CPUs are too few for what the replicas reserve in Ray.

Without these warnings `deploy` would wait until its time is over and then name the applications only. They refuse
nothing, because an autoscaler may add machines. They compare sums, and what other programs reserve is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dispatcher.config.settings import Settings

if TYPE_CHECKING:
    from serve_app.applications import Place


def reserved_cpus(settings: Settings, place: Place, workers: int) -> float:
    """Return how many CPUs the fewest replicas reserve together: intake, supervisors and vendor actors.

    If there is a second worker, a second supervisor stands by.
    """
    vendor_actors = sum(vendor.replicas_min for vendor in settings.vendors.values())
    return (
        settings.intake.replicas_min * place.intake_cpus
        + min(workers, 2) * place.supervisor_cpus
        + vendor_actors * place.vendor_cpus
    )


def cpu_warnings(node_cpus: Sequence[float], settings: Settings, place: Place) -> list[str]:
    """Return a sentence for each thing that needs more CPUs than there are.

    `node_cpus` has the CPUs of each node. A node with 0 runs no replicas.
    """
    workers = [cpus for cpus in node_cpus if cpus > 0]
    there, needed = sum(workers), reserved_cpus(settings, place, len(workers))
    found = f"the workers have {there:g} CPUs, and the replicas reserve {needed:g}"
    if there < needed:
        return [
            f"{found}: without a new machine some replicas cannot start;"
            " `ray start --num-cpus` on a worker may name more CPUs than it has"
        ]
    warnings = []
    left = there - max(workers, default=0.0)
    if len(workers) > 1 and left < needed:
        warnings.append(f"{found}: when the largest worker is lost, {left:g} are left, and some replicas cannot start")
    if there < place.intake_cpus + needed:
        warnings.append(
            f"{found}: a change of intake cannot end, because a new replica starts before an old one stops;"
            f" it needs {place.intake_cpus:g} free, and {2 * needed:g} in all to change everything at once"
        )
    elif there < 2 * needed:
        warnings.append(
            f"{found}: a change of everything goes on in steps, because a new replica starts before an old one stops;"
            f" it needs {2 * needed:g} to change everything at once"
        )
    return warnings
