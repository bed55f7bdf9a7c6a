"""Runs benchmarks in their quick form, one after another on one installation, and names those that failed.

    python -m benchmarks.smoke NAME [NAME ...]

On two cores, starting and stopping an installation takes some 20 s, which is longer than most quick forms. If a
benchmark changes the configuration, the change is validated but not applied. Every quick form works with the
configuration `SMOKE`.
"""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.whole_service import FIXED, merged, sharing

QUICK_VENDOR: Mapping[str, Any] = {
    "timeout_s": 3.0,
    "breaker": {"open_wait_s": 1, "open_wait_s_max": 2, "slow_duration_s": 1},
}
SMOKE = merged(
    FIXED,
    {
        "vendors": {
            "sms-a": {**QUICK_VENDOR, "rate_per_s": 100.0},  # `backlog` needs a vendor that is slower than its fallback
            **dict.fromkeys(("sms-b", "email-a", "email-b"), QUICK_VENDOR),
        },
        "supervision": {"dwell_s": 0.0},
    },
)
"""The configuration: pools have their smallest sizes, and failing vendors are given up and tried again within
seconds.
"""


@click.command(help=__doc__)
@click.argument("names", nargs=-1, required=True)
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), help="folder for the JSON files")
def main(names: tuple[str, ...], results: Path | None) -> None:
    options = ["--quick", *(["--results", str(results)] if results else [])]
    with sharing(SMOKE):
        failed = [name for name in names if not _well(name, options)]
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}")


def _well(name: str, options: list[str]) -> bool:
    """Run one benchmark and return True if it succeeded.

    An exception of the benchmark is printed, so that the other benchmarks still run.
    """
    began_s = time.monotonic()
    click.echo(f"{name} begins")
    try:
        importlib.import_module(f"benchmarks.{name}").main(options, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        ended = "failed"
    except Exception:
        click.echo(traceback.format_exc())
        ended = "failed"
    else:
        ended = "done"
    click.echo(f"{name}: {ended}, {time.monotonic() - began_s:.0f} s\n")
    return ended == "done"


if __name__ == "__main__":
    main()
