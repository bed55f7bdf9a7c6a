"""Finds out which machines of the Ray cluster may have replicas.

The question to Ray blocks, so a separate thread asks it.
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
    """Keeps the list of machines that Ray gave last, and the time at which Ray gave it."""

    def __init__(self, ask: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Set the function that asks Ray: `ask` returns what `ray.nodes()` returns."""
        self._ask = ask
        self._found: set[str] = set()
        self._found_s = -HOLDS_S

    def start(self) -> None:
        """Start the thread that asks Ray every `LOOK_S` seconds until the process ends."""
        threading.Thread(target=self._run, name="nodes", daemon=True).start()

    def read(self) -> set[str]:
        """Return the ids of the living machines that have CPUs. The set is empty if Ray's latest answer is older than
        `HOLDS_S`.
        """
        return self._found if time.monotonic() - self._found_s < HOLDS_S else set()

    def look(self) -> None:
        """Ask Ray for its nodes once, and keep the answer with its time. Raises Ray's errors."""
        self._found = workers(self._ask())
        self._found_s = time.monotonic()

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # whatever Ray raises while its control plane is away, the answer is: not known
                self._error = repr(error)
            time.sleep(LOOK_S)
