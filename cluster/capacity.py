"""How much of everything a load needs: a pure model over measured costs, each figure with its assumption.

The costs come from a profile that `python -m benchmarks.profile` writes from this repository's benchmarks. The model is
linear on purpose: `benchmarks.growth` measures that cost per notification does not grow with backlog or vendors, and
`benchmarks.model_check` compares it with loads it was not fitted on. What is not linear is stated: one Redis thread
carries one cell, and this version has one cell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import click

from dispatcher.errors import ConfigError

DAY_S = 86_400
GIB = 2**30
BUSY = 0.6
"""Share of a core that is planned for: queueing beyond it doubles the waiting."""

MEMORY_RATIO = 0.8
"""Intake refuses above this share of maxmemory (`limits.memory_ratio_max`)."""

AOF_COPIES = 3
"""The file may double before Redis rewrites it, and the rewrite is a third copy beside it."""

INTAKE_MIN = 2
"""Killing one of two intake replicas cost 3 of 7,500 requests, the only one 117."""

REDIS_MEMORY_GIB_MAX = 64
"""Of one Redis: more takes minutes to load, and that long nothing is accepted."""


OURS = ("intake", "haproxy", "vendors")


@dataclass(frozen=True, slots=True)
class Profile:
    """Measured costs. CPU in milliseconds, sizes in bytes; `_cores_idle`: of each process, at any rate."""

    intake_cores_idle: float
    intake_cpu_ms_per_trigger: float
    ingress_cores_idle: float
    ingress_cpu_ms_per_trigger: float
    vendor_cores_idle: float
    dispatch_cpu_ms_per_notification: float
    redis_cores_idle: float
    redis_cpu_ms_per_trigger_accepted: float
    redis_cpu_ms_per_notification_delivered: float
    queued_bytes_per_notification: float
    retained_bytes_per_notification: float
    aof_written_bytes_per_notification: float
    aof_kept_bytes_per_notification_queued: float
    aof_kept_bytes_per_notification_retained: float
    machine: str = ""

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Profile:
        """ConfigError names a figure that is missing or no number; what it does not know is ignored."""
        values: dict[str, Any] = {"machine": str(found.get("machine", ""))}
        for name in (field.name for field in fields(cls) if field.name != "machine"):
            value = found.get(name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ConfigError(f"profile: {name}: {value!r} is not a number of 0 or more")
            if name.endswith("_cores_idle") and value >= BUSY:
                raise ConfigError(
                    f"profile: {name}: {value!r} is not below {BUSY:g}, all that is planned for of a core"
                )
            values[name] = float(value)
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked. `channels`: messages of each channel per trigger."""

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
    """One line of the answer."""

    what: str
    value: float
    unit: str
    because: str


def needs(load: Load, profile: Profile) -> list[Need]:
    """Everything `load` needs, most visible first."""
    p, peak = profile, load.peak_per_s
    replicas = max(INTAKE_MIN, _processes(peak, p.intake_cpu_ms_per_trigger, p.intake_cores_idle))
    pools = [_actors(channel, peak * share, load, p) for channel, share in load.channels.items()]
    actors = 2 * sum(int(pool.value) for pool in pools)
    cores = cores_used(peak, load.messages, replicas, actors, p)
    return [
        Need("triggers, mean", load.mean_per_s, "/s", f"{load.per_day:,.0f} a day, evenly"),
        Need("triggers, peak", peak, "/s", f"{load.peak_factor:g} times the mean"),
        Need("notifications, peak", peak * load.messages, "/s", f"{load.messages:g} per trigger"),
        Need(
            "intake replicas",
            replicas,
            "",
            f"{p.intake_cpu_ms_per_trigger:.2f} ms CPU a trigger, {BUSY:.0%} of a core; at least {INTAKE_MIN}",
        ),
        *pools,
        Need(
            "CPU cores, ours",
            sum(cores[part] for part in OURS) / BUSY,
            "cores",
            f"intake, HAProxy {p.ingress_cpu_ms_per_trigger:.2f} ms a trigger, "
            f"dispatch {p.dispatch_cpu_ms_per_notification:.2f} ms a notification, {BUSY:.0%} full",
        ),
        *_redis(load, p),
        *(
            Need(f"contract rate, {channel}", peak * share, "/s", "of the first vendor, and of each that takes over")
            for channel, share in load.channels.items()
        ),
    ]


def cores_used(per_s: float, messages: float, replicas: int, actors: int, p: Profile) -> dict[str, float]:
    """Cores kept busy at `per_s` triggers of `messages` notifications each, by part.

    `replicas` of intake and `actors` of vendors, those of idle fallbacks too, each have their idle cost.
    """
    redis_ms = p.redis_cpu_ms_per_trigger_accepted + messages * p.redis_cpu_ms_per_notification_delivered
    return {
        "intake": replicas * p.intake_cores_idle + per_s * p.intake_cpu_ms_per_trigger / 1000,
        "haproxy": p.ingress_cores_idle + per_s * p.ingress_cpu_ms_per_trigger / 1000,
        "vendors": actors * p.vendor_cores_idle + per_s * messages * p.dispatch_cpu_ms_per_notification / 1000,
        "redis": p.redis_cores_idle + per_s * redis_ms / 1000,
    }


def _processes(per_s: float, cpu_ms: float, cores_idle: float) -> int:
    """Processes of one core each that carry `per_s`."""
    return math.ceil(per_s * cpu_ms / 1000 / (BUSY - cores_idle))


def _actors(channel: str, per_s: float, load: Load, p: Profile) -> Need:
    """One actor is bounded by its core and by the calls it may have in flight."""
    by_cpu = _processes(per_s, p.dispatch_cpu_ms_per_notification, p.vendor_cores_idle)
    by_calls = math.ceil(per_s * load.vendor_ms / 1000 / load.concurrency)
    why = (
        f"{load.vendor_ms:g} ms a call, {load.concurrency} at once"
        if by_calls > by_cpu
        else f"{p.dispatch_cpu_ms_per_notification:.2f} ms CPU each, {BUSY:.0%} full"
    )
    return Need(f"vendor actors, {channel}", max(1, by_cpu, by_calls), "", f"{why}; as many again for its fallback")


def _redis(load: Load, p: Profile) -> list[Need]:
    cpu_ms = p.redis_cpu_ms_per_trigger_accepted + load.messages * p.redis_cpu_ms_per_notification_delivered
    busy = p.redis_cores_idle + load.peak_per_s * cpu_ms / 1000
    queued = load.mean_per_s * load.outage_s * load.messages
    retained = load.mean_per_s * load.retention_s * load.messages
    memory = (queued * p.queued_bytes_per_notification + retained * p.retained_bytes_per_notification) / MEMORY_RATIO
    kept = queued * p.aof_kept_bytes_per_notification_queued + retained * p.aof_kept_bytes_per_notification_retained
    cells = max(1, math.ceil(busy / BUSY), math.ceil(memory / GIB / REDIS_MEMORY_GIB_MAX))
    return [
        Need("Redis CPU, peak", busy, "cores", f"{cpu_ms:.2f} ms a trigger with its notifications, on one thread"),
        Need(
            "Redis memory",
            memory / GIB,
            "GiB",
            f"{retained:,.0f} retained ({load.retention_s:g} s) at {p.retained_bytes_per_notification:.0f} B, "
            f"{queued:,.0f} queued (an outage of {load.outage_s:g} s) at {p.queued_bytes_per_notification:.0f} B, "
            f"{MEMORY_RATIO:.0%} of maxmemory",
        ),
        Need("Redis disk", kept * AOF_COPIES / GIB, "GiB", f"the rewritten file × {AOF_COPIES}"),
        Need(
            "disk writes, peak",
            load.peak_per_s * load.messages * p.aof_written_bytes_per_notification / 2**20,
            "MiB/s",
            f"{p.aof_written_bytes_per_notification:.0f} B a notification, fsynced",
        ),
        Need(
            "Redis cells",
            cells,
            "",
            f"a thread {BUSY:.0%} full and {REDIS_MEMORY_GIB_MAX} GiB each"
            + ("; this version has one: run so many installations" if cells > 1 else ""),
        ),
    ]


# ---- command


def load_profile(path: Path | None) -> Profile:
    """The profile of a file, else the one that was measured for this version."""
    try:
        place = path or Path(str(resources.files("benchmarks") / "results" / "profile.json"))
        return Profile.parse(json.loads(place.read_text()))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise ConfigError(f"profile: cannot be read: {error}") from None


def parse_channels(text: str) -> dict[str, float]:
    """`sms,email=0.5`: messages per trigger, 1 unless said."""
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
    """One column per load; the assumptions are those of the first."""
    first = next(iter(answers.values()))
    lines = ["| | " + " | ".join(f"{per_day:,.0f} a day" for per_day in answers) + " |"]
    lines.append("|---|" + "---:|" * len(answers))
    for n, need in enumerate(first):
        lines.append(f"| {need.what} | " + " | ".join(shown(answer[n]) for answer in answers.values()) + " |")
    return "\n".join(lines)


@click.command()
@click.option("--per-day", multiple=True, required=True, type=click.FloatRange(min=1), help="triggers; may be repeated")
@click.option("--peak-factor", default=10.0, show_default=True, type=click.FloatRange(min=1), help="peak over mean")
@click.option("--channels", default="sms,email", show_default=True, help="NAME or NAME=MESSAGES per trigger")
@click.option("--retention", "retention_s", default=float(DAY_S), show_default=True, help="seconds kept when finished")
@click.option("--outage", "outage_s", default=3600.0, show_default=True, help="seconds of backlog to hold")
@click.option("--vendor-ms", default=100.0, show_default=True, help="a vendor's usual answer")
@click.option("--profile", "file", type=click.Path(path_type=Path), help="costs measured on your machine")
@click.option("--markdown", is_flag=True, help="a table, one column per load")
def capacity(
    per_day: tuple[float, ...],
    peak_factor: float,
    channels: str,
    retention_s: float,
    outage_s: float,
    vendor_ms: float,
    file: Path | None,
    markdown: bool,
) -> None:
    """CPU, actors, Redis memory and disk for a load, from measured costs; each figure says what it assumes."""
    profile, parsed = load_profile(file), parse_channels(channels)
    answers = {
        count: needs(Load(count, parsed, peak_factor, retention_s, outage_s, vendor_ms), profile) for count in per_day
    }
    if markdown:
        click.echo(as_markdown(answers))
        return
    for answer in answers.values():
        click.echo(as_text(answer))
        click.echo(f"costs measured on {profile.machine}\n")
