"""A chart of each benchmark's figures, drawn from its result file alone, so that it can be drawn again later.

    python -m benchmarks.plots [NAME …] [--results DIR]

`results.report` draws too, where matplotlib is installed (`pip install -e '.[bench]'`).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

FOLDER = Path(__file__).parent / "results"
DOTS_PER_INCH = 120
RED, BLUE, GREEN, GREY = "#c44e52", "#4c72b0", "#55a868", "#555555"

Figures = Mapping[str, Any]
Drawing = Any


def can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw(file: Path) -> Path | None:
    """Draw the result file `NAME.json` to `NAME.png` beside it; None for a benchmark without a chart."""
    body = json.loads(file.read_text())
    chart = CHARTS.get(str(body.get("benchmark")))
    if chart is None:
        return None
    drawing = chart(body["figures"])
    drawing.tight_layout()
    path = file.with_suffix(".png")
    drawing.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    _pyplot().close(drawing)
    return path


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _panels(count: int, width: float = 4.5, height: float = 3.5, **options: Any) -> tuple[Drawing, Sequence[Any]]:
    drawing, axes = _pyplot().subplots(1, count, figsize=(width * count, height), squeeze=False, **options)
    return drawing, axes[0]


def _bars(axes: Any, names: Sequence[str], spreads: Sequence[Figures], colour: str = BLUE) -> None:
    """Medians as horizontal bars, least and greatest as whiskers, first name on top."""
    medians = [s["median"] for s in spreads]
    whiskers = [
        [m - s["min"] for m, s in zip(medians, spreads, strict=True)],
        [s["max"] - m for m, s in zip(medians, spreads, strict=True)],
    ]
    axes.barh(range(len(names)), medians, xerr=whiskers, capsize=3, color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def _two_sided(axes: Any, names: Sequence[str], sides: Mapping[str, tuple[str, Sequence[Figures]]]) -> None:
    """p50 as bars and p99 as whiskers on a logarithmic scale. `sides`: label → colour and, per name, p50 and p99."""
    width = 0.8 / len(sides)
    for n, (label, (colour, values)) in enumerate(sides.items()):
        places = [place + (n - (len(sides) - 1) / 2) * width for place in range(len(names))]
        p50, p99 = ([float(v[p]) for v in values] for p in ("p50", "p99"))
        above = [[0.0] * len(p50), [max(0.0, b - a) for a, b in zip(p50, p99, strict=True)]]
        axes.bar(places, p50, width * 0.9, label=label, color=colour, yerr=above, capsize=3)
        for place, value in zip(places, p50, strict=True):
            text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            axes.annotate(text, (place, value), xytext=(0, 2), textcoords="offset points", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(bottom=1)
    axes.set_xticks(range(len(names)), names)


def _checkout(figures: Figures) -> Drawing:
    drawing, (axes,) = _panels(1, 7)
    names = list(figures["after"])

    def values(side: str) -> list[Figures]:
        return [{p: figures[side][name][f"{p}_ms"]["median"] for p in ("p50", "p99")} for name in names]

    sides = {side: (colour, values(side)) for side, colour in (("before", RED), ("after", BLUE))}
    _two_sided(axes, [f"vendors {name}" for name in names], sides)
    axes.set_ylabel("checkout, ms (bar p50, whisker p99)")
    axes.set_title(f"{figures['rate_per_s']:g} checkouts/s, open-loop: sending inside the request, and through us")
    axes.legend()
    return drawing


def _accept(figures: Figures) -> Drawing:
    drawing, (axes,) = _panels(1, 8)
    conditions = figures["conditions"]
    names = [name.replace(", vendors ", "\n") for name in conditions]

    def values(what: str) -> list[Figures]:
        return [{p: c[f"{what}_ms_{p}"]["median"] for p in ("p50", "p99")} for c in conditions.values()]

    _two_sided(axes, names, {"202 to the checkout": (BLUE, values("accept"))})
    axes.set_ylabel("ms from due time (bar p50, whisker p99)")
    axes.set_title("What a checkout waits for its 202")
    axes.axhline(10, color=GREY, linewidth=0.8, linestyle="--")
    return drawing


def _end_to_end(figures: Figures) -> Drawing:
    drawing, (latency, cpu) = _panels(2)
    rows = figures["rates"]
    rates = [row["rate_per_s"] for row in rows]
    lines = {"accept p99": "accept_ms_p99", "delivery p50": "delivery_beyond_vendor_ms_p50"}
    for label, name in (lines | {"delivery p99": "delivery_beyond_vendor_ms_p99"}).items():
        latency.plot(rates, [row[name] for row in rows], marker="o", label=label)
    latency.axvline(figures["highest_sustained_per_s"], color=GREY, linewidth=0.8, linestyle="--")
    latency.set_yscale("log")
    latency.set_ylabel("ms (deliveries beyond the vendor's 50)")
    latency.set_title(f"sustained: {figures['highest_sustained_per_s']:g}/s")
    parts = list(rows[0]["cpu_ms_per_trigger"])
    stacks = [[row["cpu_ms_per_trigger"][part] for row in rows] for part in parts]
    cpu.stackplot(rates, stacks, labels=parts)
    cpu.set_ylabel("CPU ms a trigger")
    for axes in (latency, cpu):
        axes.set_xlabel("triggers/s, two notifications each")
        axes.legend(fontsize=7)
    return drawing


def _backlog(figures: Figures) -> Drawing:
    drawing, (axes,) = _panels(1, 6)
    situations = {"idle": "idle", "behind_bulk": "behind a bulk run", "while_fallback_drains": "fallback drains it"}
    values = [{p: figures[f"urgent_{name}_{p}_ms"]["median"] for p in ("p50", "p99")} for name in situations]
    _two_sided(axes, list(situations.values()), {"urgent SMS": (BLUE, values)})
    axes.set_ylabel("ms to the vendor's answer (bar p50, whisker p99)")
    first_s = figures["fallback_first_delivery_s"]["median"]
    axes.set_title(f"{figures['queued']['median']:,.0f} waiting; the fallback's first after {first_s:.2f} s")
    return drawing


def _dispatch(figures: Figures) -> Drawing:
    drawing, (cpu, speed) = _panels(2)
    subjects = figures["subjects"]
    _bars(cpu, list(subjects), [s["cpu_ms"] for s in subjects.values()])
    cpu.set_xlabel("CPU ms a notification")
    _bars(speed, list(subjects), [s["per_s"] for s in subjects.values()], GREEN)
    speed.set_xlabel("notifications/s, one worker")
    return drawing


def _growth(figures: Figures) -> Drawing:
    drawing, (size, backlog, vendors) = _panels(3)
    kinds = ("queued", "retained")
    for n, (backlog_size, values) in enumerate(figures["bytes"].items()):
        places = [place + (n - 0.5) * 0.38 for place in range(len(kinds))]
        size.bar(places, [values[kind] for kind in kinds], 0.36, label=f"of {int(backlog_size):,}")
    size.set_xticks(range(len(kinds)), kinds)
    size.set_ylabel("bytes a notification in Redis")
    size.legend(fontsize=7)
    for axes, by in ((backlog, "backlog"), (vendors, "vendors")):
        sizes = [int(n) for n in figures[by]]
        for name in next(iter(figures[by].values())):
            axes.plot(sizes, [v[name]["median"] for v in figures[by].values()], marker="o", label=name)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(by)
        axes.set_ylabel("ms a notification")
        axes.legend(fontsize=7)
    return drawing


def _scaling(figures: Figures) -> Drawing:
    drawing, panels = _panels(2)
    wholes = {"drain": "vendor actors, notifications", "accept": "intake replicas, triggers"}
    for axes, (what, unit) in zip(panels, wholes.items(), strict=True):
        sizes = list(figures[what])
        axes.bar(sizes, [row["per_s"] for row in figures[what].values()], color=BLUE)
        axes.set_xlabel(unit.split(",")[0])
        axes.set_ylabel(f"{unit.split(', ')[1]} a second")
        cost = axes.twinx()
        cost.plot(sizes, [row["cpu_ms"] for row in figures[what].values()], color=RED, marker="o")
        cost.set_ylim(bottom=0)
        cost.set_ylabel("CPU ms each, all processes", color=RED)
    return drawing


def _elastic(figures: Figures) -> Drawing:
    drawing, (load, actors, age) = _pyplot().subplots(3, 1, sharex=True, figsize=(8, 6))
    steps = figures["load"]
    load.stairs(
        [step["per_s"] for step in steps], [0.0, *(step["until_s"] for step in steps)], color=GREY, baseline=None
    )
    load.set_ylabel("triggers/s")
    samples = figures["samples"]
    at = [s["at_s"] for s in samples]
    for vendor in figures["watched"]:
        actors.step(at, [s[f"{vendor}_actors"] for s in samples], where="post", label=vendor)
        age.plot(at, [s[f"{vendor}_age_s"] for s in samples], label=vendor)
    actors.set_ylabel("actors")
    actors.legend()
    age.set_ylabel("oldest waiting, s")
    age.set_xlabel("seconds")
    load.set_title("A tenfold step: load, pool size, age of the oldest waiting message")
    return drawing


def _cold_start(figures: Figures) -> Drawing:
    drawing, (start, memory, cores) = _panels(3, 4, 2.5)
    _bars(start, ["ready", "first delivery"], [figures["ready_s"], figures["first_delivery_s"]])
    start.set_xlabel("seconds after `up`")
    for axes, what, unit in ((memory, "pss_mib", "MiB (PSS), all processes"), (cores, "cores", "cores used")):
        _bars(axes, ["idle", "116/s"], [figures[f"idle_{what}"], figures[f"at_116_per_s_{what}"]], GREEN)
        axes.set_xlabel(unit)
    return drawing


def _soak(figures: Figures) -> Drawing:
    names = ("accept_ms_p99", "actors_pss_mib", "actors_descriptors", "redis_bytes")
    drawing, panels = _panels(len(names), 3.5, 3)
    for axes, name in zip(panels, names, strict=True):
        axes.plot([minute[name] for minute in figures["minutes"]], marker="o", markersize=3)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("minute")
        axes.set_title(f"{name}: {figures['slope_per_hour'][name]:+g} an hour", fontsize=8)
    return drawing


def _hotspots(figures: Figures) -> Drawing:
    drawing, (axes,) = _panels(1, 8, 2.5)
    subjects = figures["subjects"]
    names = list(dict.fromkeys(name for s in subjects.values() for name in s["percent_by_package"]))
    left, colours = [0.0] * len(subjects), _pyplot().get_cmap("tab20")
    for n, name in enumerate(names):
        widths = [s["percent_by_package"].get(name, 0.0) for s in subjects.values()]
        axes.barh(range(len(subjects)), widths, left=left, label=name, color=colours(n))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(subjects)), list(subjects))
    axes.set_xlabel("% of CPU time, by the package that asked for it")
    axes.legend(fontsize=6, ncols=6, loc="upper center", bbox_to_anchor=(0.5, 1.35))
    return drawing


CHARTS: Mapping[str, Callable[[Figures], Drawing]] = {
    "checkout_before_after": _checkout,
    "accept_latency": _accept,
    "end_to_end": _end_to_end,
    "backlog": _backlog,
    "dispatch_cost": _dispatch,
    "growth": _growth,
    "scaling": _scaling,
    "elastic": _elastic,
    "cold_start": _cold_start,
    "soak": _soak,
    "hotspots": _hotspots,
}


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(CHARTS)))
@click.option("--results", "folder", type=click.Path(file_okay=False, path_type=Path), default=FOLDER)
def main(names: Sequence[str], folder: Path) -> None:
    if not can_draw():
        raise click.ClickException("matplotlib is not installed; pip install -e '.[bench]'")
    for name in names or CHARTS:
        file = folder / f"{name}.json"
        if names or file.exists():
            click.echo(f"written: {draw(file)}")


if __name__ == "__main__":
    main()
