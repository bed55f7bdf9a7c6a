"""Asks which machines of the Ray cluster may have replicas. A thread of its own asks, because the question blocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LOOK_S = 2.0
HOLDS_S = 8.0
"""An older answer does not count. So nobody is moved while Ray's control plane is away."""


def workers(nodes: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the short names, as replicas tell them, of the living nodes that have CPUs."""
    return {node["NodeID"][:8] for node in nodes if node["Alive"] and node.get("Resources", {}).get("CPU", 0) > 0}


class NodeWatch:
    """The machines as Ray named them last."""

    def __init__(self, ask: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """`ask` returns what `ray.nodes()` returns."""
        self._ask = ask
        self._found: set[str] = set()
        self._found_s = -HOLDS_S

    def start(self) -> None:
        """Look from now on, until the process ends."""
        threading.Thread(target=self._run, name="nodes", daemon=True).start()

    def read(self) -> set[str]:
        """Return the machines; nothing if Ray has not answered lately."""
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
