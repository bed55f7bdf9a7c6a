"""Finds out which machines of the Ray cluster may have replicas, and how many CPUs are free for replicas there.

The questions to Ray block, so a separate thread asks them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LOOK_S = 2.0
HOLDS_S = 8.0
"""The time in seconds for which an answer counts. So no replica is moved while Ray's control plane is away."""


def workers(nodes: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the short ids of the living nodes that have CPUs. Replicas report the same ids."""
    return {node["NodeID"][:8] for node in nodes if node["Alive"] and node.get("Resources", {}).get("CPU", 0) > 0}


class NodeWatch:
    """Keeps the machines and free CPUs that Ray told last, and the time of each answer."""

    def __init__(
        self,
        ask: Callable[[], Sequence[Mapping[str, Any]]],
        ask_free: Callable[[], Mapping[str, Mapping[str, float]]] = dict,
    ) -> None:
        """Set the functions that ask Ray.

        `ask` returns what `ray.nodes()` returns. `ask_free` returns what `available_resources_per_node()` of
        `ray._private.state` returns: the resources that no replica or task has reserved, by the id of the node.
        """
        self._ask, self._ask_free = ask, ask_free
        self._found: set[str] = set()
        self._free: dict[str, float] = {}
        self._found_s = self._free_s = -HOLDS_S

    def start(self) -> None:
        """Start the thread that asks Ray every `LOOK_S` seconds until the process ends."""
        threading.Thread(target=self._run, name="nodes", daemon=True).start()

    def read(self) -> set[str]:
        """Return the ids of the living machines that have CPUs. The set is empty if Ray's latest answer is older than
        `HOLDS_S`.
        """
        return self._found if time.monotonic() - self._found_s < HOLDS_S else set()

    def free_cpus(self) -> dict[str, float]:
        """Return the free CPUs of each living machine that has CPUs. The dict is empty if Ray's latest answer is older
        than `HOLDS_S`.
        """
        return self._free if time.monotonic() - self._free_s < HOLDS_S else {}

    def look(self) -> None:
        """Ask Ray once for its nodes and their free CPUs, and keep the answers with their time. Raises Ray's errors."""
        self._found = workers(self._ask())
        self._found_s = time.monotonic()
        free = {node[:8]: has.get("CPU", 0.0) for node, has in self._ask_free().items()}  # Ray leaves out what is zero
        self._free = {node: cpus for node, cpus in free.items() if node in self._found}
        self._free_s = time.monotonic()

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # whatever Ray raises while its control plane is away, the answer is: not known
                self._error = repr(error)
            time.sleep(LOOK_S)
