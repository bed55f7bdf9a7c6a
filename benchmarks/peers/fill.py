"""Queues COUNT jobs of one peer: `python -m benchmarks.peers.fill celery_app COUNT`."""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__":
    importlib.import_module(f"benchmarks.peers.{sys.argv[1]}").fill(int(sys.argv[2]))
