"""Shows what the loss of machines costs: `python -m tests.cluster.bench` prints the committed runs as a table.

With `--runs N` it measures first, which needs root. Each fault runs N times, each time on a cluster of its own. Each
row has the commit that was measured. Rows of other commits are removed when a fault is measured again. Ends with 1 if a
run did not reach what it must (`benchmarks.cluster_table.BARS`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cluster_table import RESULTS, missed, table
from cluster.rehearsal.provenance import environment
from tests.cluster import faults
from tests.cluster.machines import missing
from tests.cluster.rig import Rig, rig
from tests.leftovers import short_folder

FAULTS: dict[str, Callable[[Rig], faults.Measured]] = {
    "off": lambda r: faults.worker_off(r, "resend"),
    "off-hold": lambda r: faults.worker_off(r, "hold"),
    "cut": lambda r: faults.worker_cut_off(r, "hold"),
    "head": lambda r: faults.head_off(r, "hold"),
    "split": lambda r: faults.split_brain(r, "hold"),
    "change-one": lambda r: faults.rolling_change(r, "one vendor"),
    "change-all": lambda r: faults.rolling_change(r, "everything"),
}


def measure(name: str, run: Callable[[Rig], faults.Measured]) -> dict[str, Any]:
    """Measure one fault on a cluster of its own and return its row."""
    folder = Path(short_folder("ndm-"))
    try:
        with rig(folder) as found:
            found.deploy()
            found.until(lambda: faults.spread(found), 90, "spread at the start")
            return {"name": name, "commit": environment()["commit"], **asdict(run(found))}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measure if `--runs` is given, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--only", choices=FAULTS, help="this fault alone; the rows of the others stay")
    asked = parser.parse_args()
    if asked.runs and missing():
        parser.error(str(missing()))
    kept = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    for _ in range(asked.runs):
        for name, run in FAULTS.items():
            if asked.only in (None, name):
                row = measure(name, run)
                kept = [one for one in kept if one["name"] != name or one["commit"] == row["commit"]] + [row]
                print(json.dumps(kept[-1]), flush=True)
                RESULTS.write_text(json.dumps({"environment": environment(), "rows": kept}, indent=1) + "\n")
    print(table(kept))
    if any(map(missed, kept)):
        sys.exit(1)


if __name__ == "__main__":
    main()
