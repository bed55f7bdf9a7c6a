"""Runs many seeds on all cores, or one seed with its trace: `python -m tests.simulation`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.simulation.run import Result, play, run, stage

CHUNK = 25


def play_all(first: int, count: int, jobs: int) -> Iterable[list[Result]]:
    chunks = [range(n, min(n + CHUNK, first + count)) for n in range(first, first + count, CHUNK)]
    if jobs == 1:
        yield from map(play, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(play, chunks)


def show(seed: int) -> int:
    with stage():
        result = run(seed, print)
    print(f"seed {seed}: {result.digest}, {result.seconds:.1f} s of {result.steps} steps, {dict(result.counts)}")
    for sentence in result.violations:
        print(f"  violated: {sentence}")
    return 1 if result.violations else 0


def show_all(first: int, count: int, jobs: int) -> int:
    began_s, told_s, done, failed = time.monotonic(), time.monotonic(), 0, list[Result]()
    counts: Counter[str] = Counter()
    steps, seconds = 0, 0.0
    for results in play_all(first, count, jobs):
        for result in results:
            done += 1
            counts += result.counts
            steps += result.steps
            seconds += result.seconds
            if result.violations:
                failed.append(result)
                print(f"seed {result.seed}: {result.violations[0]}")
                print(f"  python -m tests.simulation --seed {result.seed}", flush=True)
        if time.monotonic() - told_s > 10.0 or done == count:
            told_s = time.monotonic()
            print(f"{done:6} of {count} seeds, {len(failed)} failed, {told_s - began_s:.0f} s", flush=True)
    print(
        f"{counts['triggers']} triggers over {seconds / 3600:.1f} simulated hours in {steps} steps: "
        f"{counts['settled']} settled, {counts['dead']} dead, {counts['held']} held, {counts['looked_up']} looked "
        f"up, {counts['suppressed']} suppressed; {counts['sends']} sends, {counts['repeats']} repeats; "
        f"{counts['deaths']} deaths, {counts['takes']} takes, {counts['recovered']} recovered claims"
    )
    print("ok" if not failed else f"FAILED: {sorted(result.seed for result in failed)[:50]}")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one, with its trace")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.seed is not None:
        return show(options.seed)
    return show_all(options.first, options.seeds, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
