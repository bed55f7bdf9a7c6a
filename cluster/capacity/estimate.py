"""Computes how much CPU, memory and disk a load needs, from measured costs. Each figure comes with its assumption.

The costs come from a profile. `python -m benchmarks.profile` writes it from this repository's benchmarks.

The model is linear on purpose. `benchmarks.growth` measures whether the cost per notification grows with the backlog,
the number of vendors, or the number of retained records. `benchmarks.model_check` compares the model with measurements
at rates that its costs were not fitted to. docs/capacity.md holds the results.

One thing is not linear: one Redis thread carries one cell. A cell is a whole installation with its own idle costs.
So every need is computed for one cell and then multiplied by the number of cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from cluster.capacity.profile import BUSY, Profile, load_profile
from dispatcher.core.plan.sizing import pool_size
from dispatcher.errors import ConfigError

DAY_S = 86_400
GIB = 2**30
MEMORY_RATIO = 0.8
"""The share of Redis's `maxmemory` above which intake refuses triggers (`limits.memory_ratio_max`)."""

AOF_COPIES = 3
"""The append-only file may need this many times its smallest size on disk.

The file may double before Redis rewrites it, and the rewrite writes a third copy beside it.
"""

INTAKE_MIN = 2
"""The smallest number of intake replicas.

When one of two replicas was killed, 3 of 7,500 requests failed. When the only replica was killed, 117 failed.
"""

REDIS_MEMORY_GIB_MAX = 64
"""The most memory planned for one Redis, in GiB. A larger Redis takes minutes to load and accepts nothing meanwhile."""

NODE_CORES = 8
"""The number of cores of one machine. Ray's own idle processes are counted once for each machine."""

OURS, BESIDE = ("intake", "haproxy", "vendors"), ("supervisor", "redis")
ACTORS_MOST = 10**9
SAME = 1.02
"""Two rates that differ by less than this factor count as the same rate."""

REPLICAS_MAX = 4
"""The value of `vendors.NAME.replicas_max` and `intake.replicas_max` if the configuration does not set them."""


@dataclass(frozen=True, slots=True)
class Load:
    """A load to plan for. `channels` maps each channel to the number of its messages per trigger.

    `per_day` counts triggers. `vendor_ms` is the usual time of a vendor's answer. `concurrency` is the number of calls
    that one vendor actor has open at the same time.
    """

    per_day: float
    channels: Mapping[str, float]
    peak_factor: float = 10.0
    retention_s: float = DAY_S
    outage_s: float = 3600.0
    vendor_ms: float = 100.0
    concurrency: int = 64

    @property
    def messages(self) -> float:
        return sum(self.channels.values())

    @property
    def mean_per_s(self) -> float:
        return self.per_day / DAY_S

    @property
    def peak_per_s(self) -> float:
        return self.mean_per_s * self.peak_factor


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a load needs, and how much of it, for example memory of Redis.

    The load needs the amount `value` of `what`, in `unit`. `because` is the assumption from which the amount follows.
    """

    what: str
    value: float
    unit: str
    because: str


@dataclass(frozen=True, slots=True)
class Cell:
    """The plan of one cell (one installation) when there are `number` equal cells.

    `peak_per_s` is this cell's part of the peak, in triggers a second. `replicas` counts intake replicas. `actors` maps
    each channel to the number of actors of the channel's first vendor.
    """

    number: int
    peak_per_s: float
    replicas: int
    actors: Mapping[str, int]


def cell_of(load: Load, p: Profile) -> Cell:
    memory, _ = _kept_bytes(load, p)
    number = max(
        1,
        _processes(load.peak_per_s, p.redis_cpu_ms(load.messages), p.redis_cores_idle),
        math.ceil(memory / GIB / REDIS_MEMORY_GIB_MAX),
    )
    each = load.peak_per_s / number
    replicas = max(INTAKE_MIN, _processes(each, p.intake_cpu_ms_per_trigger, p.intake_cores_idle))
    return Cell(number, each, replicas, {name: _actors(each * share, load, p) for name, share in load.channels.items()})


def needs(load: Load, profile: Profile) -> list[Need]:
    """Return every need of `load`, summed over all cells.

    The needs come in this order: rates, cells, processes, CPU, Redis, contract rates. Each need has a text `because`,
    which gives the assumption behind its figure. If two loads differ only in `per_day`, each need has the same
    `because` for both loads. So a table of several loads can show each `because` once.
    """
    p, peak, cell = profile, load.peak_per_s, cell_of(load, profile)
    memory, disk = _kept_bytes(load, p)
    used = cores_used(cell.peak_per_s, load.messages, cell.replicas, 2 * sum(cell.actors.values()), p=p)
    cores = {part: cell.number * busy for part, busy in used.items()}
    return [
        Need("mean rate of triggers", load.mean_per_s, "/s", "triggers come evenly over the day"),
        Need("peak rate of triggers", peak, "/s", f"the peak is {load.peak_factor:g} times the mean"),
        Need("peak rate of notifications", peak * load.messages, "/s", f"{load.messages:g} for each trigger"),
        Need(
            *("cells (installations)", cell.number, ""),
            f"each Redis uses {BUSY:.0%} of a thread and at most {REDIS_MEMORY_GIB_MAX} GiB",
        ),
        Need(
            "intake replicas",
            cell.number * cell.replicas,
            "",
            f"{p.intake_cpu_ms_per_trigger:.2f} ms of CPU for a trigger; cores {BUSY:.0%} busy; "
            f"at least {INTAKE_MIN} in a cell",
        ),
        *(
            Need(f"actors of the first vendor, {channel}", cell.number * actors, "", _actors_because(load, p))
            for channel, actors in cell.actors.items()
        ),
        *_cpu(load, p, cores),
        *_redis(load, p, cores["redis"], memory, disk=disk),
        *(
            Need(
                f"contract rate needed, {channel}", peak * share, "/s", "at the first vendor, and each that takes over"
            )
            for channel, share in load.channels.items()
        ),
    ]


def settings_of(load: Load, profile: Profile) -> list[Need]:
    """Return the settings that each cell (one installation) needs so that its pools can grow to the size that `needs`
    computes.
    """
    cell = cell_of(load, profile)
    return [
        Need(
            "setting intake.replicas_min",
            cell.replicas,
            "",
            "in each cell, because intake grows only when requests pile up; "
            f"intake.replicas_max (default {REPLICAS_MAX}) must be at least this",
        ),
        *(
            Need(
                f"setting vendors.NAME.replicas_max, {channel}",
                actors,
                "",
                f"in each cell, for each vendor of the channel (default {REPLICAS_MAX})",
            )
            for channel, actors in cell.actors.items()
        ),
    ]


def reach(load: Load, profile: Profile) -> Need:
    """Return a `Need` for the peak rate of triggers in one cell. A cell is one installation with its own Redis.

    Its text says whether this rate lies within the rates at which the CPU costs were measured, or beyond them.
    """
    rate, fitted, error = cell_of(load, profile).peak_per_s, profile.fitted_per_s, profile.error_percent
    within = bool(fitted) and min(fitted) / SAME <= rate <= max(fitted) * SAME
    rates = f"were fitted to {min(fitted):,.0f} to {max(fitted):,.0f} /s" if fitted else "do not say where they hold"
    off = "were never checked" if error is None else f"are off by up to {error:g}% (benchmarks.model_check)"
    return Need(
        "peak rate of triggers in a cell",
        rate,
        "/s, within" if within else "/s, BEYOND",
        f"the CPU costs {rates} of one installation, are EXTRAPOLATED beyond that, and at other rates {off}",
    )


def _cpu(load: Load, p: Profile, cores: Mapping[str, float]) -> list[Need]:
    """Return how much CPU the load needs, as rows of the estimate.

    `cores` maps each part of the service to its busy cores at the peak, summed over all cells.
    """
    ours = sum(cores[part] for part in OURS) / BUSY
    installed = ours + sum(cores[part] for part in BESIDE) / BUSY
    nodes = max(1, math.ceil(installed / NODE_CORES))
    ray = (nodes * p.ray_cores_idle + load.peak_per_s * p.ray_cpu_ms_per_trigger / 1000) / BUSY
    return [
        Need(
            "CPU for intake, HAProxy and actors",
            ours,
            "cores",
            f"intake {p.intake_cpu_ms_per_trigger:.2f} ms and HAProxy {p.ingress_cpu_ms_per_trigger:.2f} ms for a "
            f"trigger, actors {p.dispatch_cpu_ms_per_notification:.2f} ms for a notification; cores {BUSY:.0%} busy",
        ),
        Need(
            "CPU for the whole service",
            installed + ray,
            "cores",
            f"intake, HAProxy, actors, supervisor, Redis, and {p.ray_cores_idle:.2f} cores of Ray's own processes for "
            f"each {NODE_CORES} cores; cores {BUSY:.0%} busy",
        ),
    ]


def cores_used(per_s: float, messages: float, replicas: int, actors: int, *, p: Profile) -> dict[str, float]:
    """Return how many cores each part of one installation keeps busy, keyed by the part's name.

    `per_s` is the rate of triggers, and each trigger has `messages` notifications. `replicas` counts intake replicas.
    `actors` counts vendor actors, also those of idle fallbacks. Each replica and each actor has an idle cost.
    """
    return {
        "intake": replicas * p.intake_cores_idle + per_s * p.intake_cpu_ms_per_trigger / 1000,
        "haproxy": p.ingress_cores_idle + per_s * p.ingress_cpu_ms_per_trigger / 1000,
        "vendors": actors * p.vendor_cores_idle + per_s * messages * p.dispatch_cpu_ms_per_notification / 1000,
        "supervisor": p.supervisor_cores_idle + per_s * p.supervisor_cpu_ms_per_trigger / 1000,
        "ray": p.ray_cores_idle + per_s * p.ray_cpu_ms_per_trigger / 1000,
        "redis": p.redis_cores_idle + per_s * p.redis_cpu_ms(messages) / 1000,
    }


def _processes(per_s: float, cpu_ms: float, cores_idle: float) -> int:
    """Return how many processes are needed for `per_s` calls a second.

    A call takes `cpu_ms` of CPU time. A process has one core, of which it uses `cores_idle` even without calls.
    """
    return math.ceil(round(per_s * cpu_ms / 1000 / (BUSY - cores_idle), 9))  # exactly full is not one more


def _actors(per_s: float, load: Load, p: Profile) -> int:
    """Return the pool size that the supervisor chooses without a backlog, or a larger size if the actors' CPU
    needs that.
    """
    planned, live = 1, 0
    while planned != live:  # it grows step by step, as the supervisor lets it
        live = planned
        planned = pool_size(
            per_s,
            load.vendor_ms / 1000,
            backlog=0,
            concurrency=load.concurrency,
            rate_per_s=None,
            live=live,
            least=1,
            most=ACTORS_MOST,
        )
    return max(planned, _processes(per_s, p.dispatch_cpu_ms_per_notification, p.vendor_cores_idle))


def _actors_because(load: Load, p: Profile) -> str:
    return (
        f"by the supervisor's rule, with {load.vendor_ms:g} ms for a call and {load.concurrency} calls at once, "
        f"and {p.dispatch_cpu_ms_per_notification:.2f} ms of CPU for a call; its fallback needs as many again"
    )


def _kept_bytes(load: Load, p: Profile) -> tuple[float, float]:
    """Return two sizes in bytes: the memory that Redis must be given, and the disk for its append-only file.

    The second size includes the copies that a rewrite of the file needs.
    """
    queued = load.mean_per_s * load.outage_s * load.messages
    retained = load.mean_per_s * load.retention_s * load.messages
    memory = queued * p.queued_bytes_per_notification + retained * p.retained_bytes_per_notification
    kept = queued * p.aof_kept_bytes_per_notification_queued + retained * p.aof_kept_bytes_per_notification_retained
    return memory / MEMORY_RATIO, kept * AOF_COPIES


def _redis(load: Load, p: Profile, busy: float, memory: float, *, disk: float) -> list[Need]:
    cpu_ms = p.redis_cpu_ms(load.messages)
    return [
        Need(
            "CPU of Redis at the peak",
            busy,
            "cores",
            f"{cpu_ms:.2f} ms for a trigger with its notifications; one thread in each cell",
        ),
        Need(
            "memory of Redis",
            memory / GIB,
            "GiB",
            f"finished notifications are kept for {load.retention_s:,.0f} s, {p.retained_bytes_per_notification:.0f} B "
            f"each; an outage of {load.outage_s:,.0f} s is queued at the mean rate, "
            f"{p.queued_bytes_per_notification:.0f} B each; both fill {MEMORY_RATIO:.0%} of maxmemory",
        ),
        Need("disk of Redis", disk / GIB, "GiB", f"{AOF_COPIES} times the rewritten append-only file"),
        Need(
            "disk writes of Redis at the peak",
            load.peak_per_s * load.messages * p.aof_written_bytes_per_notification / 2**20,
            "MiB/s",
            f"{p.aof_written_bytes_per_notification:.0f} B for a notification, each write with an fsync",
        ),
    ]


def whole(load: Load, profile: Profile) -> list[Need]:
    """Return the whole answer: the needs, then the settings, then whether the peak was measured."""
    return [*needs(load, profile), *settings_of(load, profile), reach(load, profile)]


# ---- command


def parse_channels(text: str) -> dict[str, float]:
    """Return the messages per trigger of each channel, from a text such as `sms,email=0.5`. The default number is 1.

    Raises ConfigError if a part has no name, or its number is not above 0.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            found[name] = float(share or 1)
        except ValueError:
            found[name] = -1.0
        if not name or not 0 < found[name] < math.inf:
            raise ConfigError(f"--channels: {part!r} is not allowed: NAME or NAME=MESSAGES, above 0")
    return found


def shown(need: Need) -> str:
    digits = 0 if not need.unit or need.value >= 100 else 1 if need.value >= 10 else 2
    return f"{need.value:,.{digits}f} {need.unit}".strip()


def as_text(need: Sequence[Need]) -> str:
    width, values = max(len(n.what) for n in need), [shown(n) for n in need]
    most = max(map(len, values))
    return "\n".join(f"{n.what:{width}}  {value:>{most}}  {n.because}" for n, value in zip(need, values, strict=True))


def as_markdown(answers: Mapping[float, Sequence[Need]]) -> str:
    """Return a table with one column for each load.

    The last column holds the assumptions, which are the same for all loads. `answers` maps each load, in triggers a
    day, to its needs.
    """
    first = next(iter(answers.values()))
    lines = ["| | " + " | ".join(f"{per_day:,.0f} a day" for per_day in answers) + " | because |"]
    lines.append("|---|" + "---:|" * len(answers) + "---|")
    for n, need in enumerate(first):
        values = " | ".join(shown(answer[n]) for answer in answers.values())
        lines.append(f"| {need.what} | {values} | {need.because} |")
    return "\n".join(lines)


@click.command()
@click.option(
    "--per-day",
    multiple=True,
    required=True,
    type=click.FloatRange(min=1),
    help="Triggers a day. Repeat it for more loads.",
)
@click.option(
    "--peak-factor", default=10.0, show_default=True, type=click.FloatRange(min=1), help="The peak rate over the mean."
)
@click.option("--channels", default="sms,email", show_default=True, help="NAME, or NAME=MESSAGES per trigger.")
@click.option(
    "--retention", "retention_s", default=float(DAY_S), show_default=True, help="Seconds to keep finished triggers."
)
@click.option("--outage", "outage_s", default=3600.0, show_default=True, help="Seconds of backlog at the mean rate.")
@click.option("--vendor-ms", default=100.0, show_default=True, help="How long a vendor takes to answer, in ms.")
@click.option("--profile", "file", type=click.Path(path_type=Path), help="A file with costs of your machine.")
@click.option("--markdown", is_flag=True, help="Print a table with a column for each load.")
def capacity(
    *,
    per_day: tuple[float, ...],
    peak_factor: float,
    channels: str,
    retention_s: float,
    outage_s: float,
    vendor_ms: float,
    file: Path | None,
    markdown: bool,
) -> None:
    """Show how much CPU, how many actors and how much Redis memory and disk a load needs.

    The figures are computed from measured costs. Each figure says what it assumes.
    """
    profile, parsed = load_profile(file), parse_channels(channels)
    answers = {
        count: whole(Load(count, parsed, peak_factor, retention_s, outage_s, vendor_ms), profile) for count in per_day
    }
    if markdown:
        click.echo(as_markdown(answers))
        return
    for answer in answers.values():
        click.echo(as_text(answer))
        click.echo(f"costs measured on {profile.machine}\n")
