"""Shows what the loss of machines costs: `python -m tests.cluster.bench` prints the committed runs as a table.

With `--runs N` it measures first, which needs root. Each fault runs N times, each time on a cluster of its own. The
rows are added to the committed results.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.rehearsal.provenance import environment
from tests.cluster import faults
from tests.cluster.machines import ROOT, missing
from tests.cluster.rig import Rig, rig
from tests.leftovers import short_folder

RESULTS = ROOT / "benchmarks" / "results" / "cluster.json"
FAULTS: dict[str, Callable[[Rig], faults.Measured]] = {
    "off": lambda r: faults.worker_off(r, "resend"),
    "off-hold": lambda r: faults.worker_off(r, "hold"),
    "cut": lambda r: faults.worker_cut_off(r, "hold"),
    "head": lambda r: faults.head_off(r, "hold"),
    "split": lambda r: faults.split_brain(r, "hold"),
    "change-one": lambda r: faults.rolling_change(r, "one vendor"),
    "change-all": lambda r: faults.rolling_change(r, "everything"),
}
COLUMNS = {
    "accepted_at_first_try": "accepted at first try",
    "last_failure_s": "last first-try failure, s",
    "gap_s": "longest gap in deliveries, s",
    "back_s": "spread again or deployed, s",
    "lost": "lost",
    "repeated": "repeated",
    "held": "held",
}
WORST = {"accepted_at_first_try": min}


def measure(name: str, run: Callable[[Rig], faults.Measured]) -> dict[str, Any]:
    """Measure one fault on a cluster of its own and return its row."""
    folder = Path(short_folder("ndm-"))
    try:
        with rig(folder) as found:
            found.deploy()
            found.until(lambda: faults.spread(found), 90, "spread at the start")
            return {"name": name, **asdict(run(found))}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table: the median of each fault's runs, and the worst in brackets."""
    lines = ["| fault | runs | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        found = [row for row in rows if row["name"] == name]
        cells = []
        for column in COLUMNS:
            values = [row[column] for row in found if row[column] is not None]
            if not values:
                cells.append("")
                continue
            middle, worst = statistics.median(values), WORST.get(column, max)(values)
            cells.append(f"{middle:g}" if middle == worst else f"{middle:g} ({worst:g})")
        policy = " (`hold`)" if name in ("off-hold", "cut", "head", "split", "change-one", "change-all") else ""
        lines.append(f"| {found[0]['fault']}{policy} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
                kept.append(measure(name, run))
                print(json.dumps(kept[-1]), flush=True)
                RESULTS.write_text(json.dumps({"environment": environment(), "rows": kept}, indent=1) + "\n")
    print(table(kept) if kept else "No runs are committed. As root, `make cluster-bench RUNS=3` measures them.")


if __name__ == "__main__":
    main()
