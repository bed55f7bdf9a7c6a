"""Which machines of the Ray cluster may have replicas. Asked by a thread of its own: the question blocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LOOK_S = 2.0
HOLDS_S = 8.0
"""An answer older than that counts for nothing: while Ray's control plane is away, nobody is moved."""


def workers(nodes: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the short names, as replicas tell them, of the living nodes that have CPUs."""
    return {node["NodeID"][:8] for node in nodes if node["Alive"] and node.get("Resources", {}).get("CPU", 0) > 0}


class NodeWatch:
    """The machines as Ray saw them last."""

    def __init__(self, ask: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """`ask` answers what `ray.nodes()` does."""
        self._ask = ask
        self._found: set[str] = set()
        self._found_s = -HOLDS_S

    def start(self) -> None:
        """Look from now on, until the process ends."""
        threading.Thread(target=self._run, name="nodes", daemon=True).start()

    def read(self) -> set[str]:
        """Return the machines, or nothing when Ray has not told lately."""
        return self._found if time.monotonic() - self._found_s < HOLDS_S else set()

    def look(self) -> None:
        """Ask Ray for its nodes, and keep the answer with its time."""
        self._found = workers(self._ask())
        self._found_s = time.monotonic()

    def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # whatever Ray raises while its control plane is away, the answer is: not known
                self._error = repr(error)
            time.sleep(LOOK_S)
