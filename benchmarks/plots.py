"""Draws a chart for each benchmark, from its result file alone. So a chart can be drawn again later.

    python -m benchmarks.plots [NAME …] [--results DIR]

`results.report` draws the chart too if matplotlib is installed (`pip install -e '.[bench]'`).
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
    """Draw the result file `NAME.json` to `NAME.png` beside it. Return the path of the picture.

    Return None if the benchmark has no chart. Also return None, with a message, if the file's figures are of an older
    form than the chart needs.
    """
    body = json.loads(file.read_text())
    chart = CHARTS.get(str(body.get("benchmark")))
    if chart is None:
        return None
    try:
        drawing = chart(body["figures"])
    except KeyError as missing:
        click.echo(f"{file.name}: not drawn, its figures are of an older shape without {missing}")
        return None
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


def _from_nothing(axes: Any, values: Sequence[float]) -> None:
    """Set the value axis from 0 to a little above the greatest value.

    Otherwise the frame of the plot would hide half of a flat line.
    """
    axes.set_ylim(0, 1.15 * max(values, default=0.0) or 1.0)


def _bars(axes: Any, names: Sequence[str], spreads: Sequence[Figures], colour: str = BLUE) -> None:
    """Draw the median of each spread as a horizontal bar. The whiskers end at the least and the greatest value.

    The first name is on top.
    """
    medians = [s["median"] for s in spreads]
    whiskers = [
        [m - s["min"] for m, s in zip(medians, spreads, strict=True)],
        [s["max"] - m for m, s in zip(medians, spreads, strict=True)],
    ]
    axes.barh(range(len(names)), medians, xerr=whiskers, capsize=3, color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def _two_sided(axes: Any, names: Sequence[str], sides: Mapping[str, tuple[str, Sequence[Figures]]]) -> None:
    """Draw p50 as bars and p99 as whiskers on a logarithmic scale. A side is one of the compared things, so each name
    has one bar for each side.

    `sides` maps the label of a side to its colour and to a sequence with one mapping per name. Such a mapping has the
    keys p50 and p99.
    """
    width = 0.8 / len(sides)
    for n, (label, (colour, values)) in enumerate(sides.items()):
        places = [place + (n - (len(sides) - 1) / 2) * width for place in range(len(names))]
        p50, p99 = ([float(v[p]) for v in values] for p in ("p50", "p99"))
        above = [[0.0] * len(p50), [max(0.0, b - a) for a, b in zip(p50, p99, strict=True)]]
        axes.bar(places, p50, width * 0.9, label=label, color=colour, yerr=above, capsize=3)
        for place, value in zip(places, p50, strict=True):
            text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            axes.annotate(text, (place, value), xytext=(4, 2), textcoords="offset points", fontsize=8)
    _logarithmic(axes)
    axes.set_xticks(range(len(names)), names)


def _checkout(figures: Figures) -> Drawing:
    drawing, (axes, arrived) = _panels(2, 6)
    names = list(figures["after"])

    def values(side: str) -> list[Figures]:
        return [{p: figures[side][name][f"{p}_ms"]["median"] for p in ("p50", "p99")} for name in names]

    sides = {side: (colour, values(side)) for side, colour in (("before", RED), ("after", BLUE))}
    _two_sided(axes, [f"vendors {name}" for name in names], sides)
    axes.set_ylabel("checkout, ms (bar p50, whisker p99)")
    axes.set_title(f"{figures['rate_per_s']:g} checkouts/s: sending inside the request, and through us", fontsize=9)
    axes.legend()
    for n, (side, (colour, _)) in enumerate(sides.items()):
        for late, share in enumerate(("delivered_at_last_answer", "delivered")):
            places = [place + (n - 0.5) * 0.4 + (late - 0.5) * 0.18 for place in range(len(names))]
            heights = [100 * figures[side][name][share]["median"] for name in names]
            label = f"{side}, {'in the end' if late else 'by the last answer'}"
            arrived.bar(places, heights, 0.16, label=label, color=colour, alpha=1.0 if late else 0.5)
    arrived.set_xticks(range(len(names)), [f"vendors {name}" for name in names])
    arrived.set_ylabel("% of the messages delivered")
    arrived.set_ylim(0, 135)
    arrived.set_yticks(range(0, 101, 20))
    arrived.legend(fontsize=7, ncols=2, loc="upper center")
    return drawing


def _accept(figures: Figures) -> Drawing:
    drawing, (axes,) = _panels(1, 8, 4)
    conditions = list(figures["conditions"].values())
    rates = sorted({c["rate_per_s"] for c in conditions})
    for state, colour in (("healthy", BLUE), ("hanging", RED), ("held", GREEN)):
        found = sorted((c for c in conditions if c["vendors"] == state), key=lambda c: float(c["rate_per_s"]))
        at = [rates.index(c["rate_per_s"]) for c in found]
        for p, style in (("p99", "-"), ("p50", ":")):
            values = [c[f"accept_ms_{p}"]["median"] for c in found]
            axes.plot(at, values, style, marker="o", color=colour, label=f"{p}, vendors {state}")
    axes.axhline(10, color=GREY, linewidth=0.8, linestyle="--")
    _logarithmic(axes)
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_xlabel("triggers/s, two notifications each")
    axes.set_ylabel("ms from due time to 202")
    axes.set_title("What a checkout waits for its 202")
    axes.legend(fontsize=7)
    return drawing


def _logarithmic(axes: Any) -> None:
    """Set a logarithmic value axis from 1 to at least 20, with plain numbers beside it."""
    axes.set_yscale("log")
    axes.set_ylim(1, max(20.0, 1.5 * axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")


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
    latency.legend(fontsize=7)
    cpu.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)
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


WHEN = ("idle", "flood")


def _fair_tenants(figures: Figures) -> Drawing:
    drawing, (axes,) = _panels(1, 6)
    series = {
        name: (colour, [{p: figures[f"{name}_{p}_{when}_ms"]["median"] for p in ("p50", "p99")} for when in WHEN])
        for name, colour in (("accept", BLUE), ("delivery", GREEN))
    }
    _two_sided(axes, ["idle", "beside a flood"], series)
    axes.set_ylabel("ms (bar p50, whisker p99)")
    axes.set_title(f"{figures['queued']['median']:,.0f} of another tenant wait in the same lanes")
    return drawing


def _dispatch(figures: Figures) -> Drawing:
    drawing, (cpu, speed) = _panels(2)
    subjects = figures["subjects"]
    _bars(cpu, list(subjects), [s["cpu_ms"] for s in subjects.values()])
    cpu.set_xlabel("CPU ms a notification")
    _bars(speed, list(subjects), [s["per_s"] for s in subjects.values()], GREEN)
    speed.set_xlabel("notifications/s, one worker")
    return drawing


COSTS = {
    "accept_wall_ms": ("accept a trigger, wall time", BLUE, "-"),
    "accept_redis_cpu_ms": ("accept a trigger, Redis CPU", BLUE, "--"),
    "deliver_wall_ms": ("claim and settle a notification, wall time", GREEN, "-"),
    "deliver_redis_cpu_ms": ("claim and settle a notification, Redis CPU", GREEN, "--"),
}


def _growth(figures: Figures) -> Drawing:
    questions = {by: title for by, title in GROWTH.items() if by in figures}
    drawing, (size, *others) = _panels(1 + len(questions), 4, 4)
    kinds, sizes = ("queued", "retained"), figures["bytes"]
    for n, (count, values) in enumerate(sizes.items()):
        places = [place + (n - (len(sizes) - 1) / 2) * 0.8 / len(sizes) for place in range(len(kinds))]
        heights = [values.get(kind, 0.0) for kind in kinds]
        size.bar(places, heights, 0.7 / len(sizes), label=f"of {int(count):,}")
    size.set_xticks(range(len(kinds)), kinds)
    size.set_ylabel("bytes a notification in Redis")
    size.set_ylim(0, 1.4 * max(values.get(kind, 0.0) for values in sizes.values() for kind in kinds))
    size.legend(fontsize=7, loc="upper right")
    for axes, (by, title) in zip(others, questions.items(), strict=True):
        names, everything = [f"{int(count):,}" for count in figures[by]], [0.0]
        for cost, (label, colour, style) in COSTS.items():
            values = [found[cost]["median"] for found in figures[by].values()]
            axes.plot(names, values, marker="o", label=label, color=colour, linestyle=style)
            everything += values
        _from_nothing(axes, everything)
        axes.set_xlabel(title)
        axes.set_ylabel("ms")
    drawing.legend(*others[0].get_legend_handles_labels(), fontsize=7, ncols=4, loc="upper center", handlelength=4)
    drawing.suptitle(" ")  # room for the legend
    return drawing


GROWTH = {"backlog": "notifications queued", "retained": "notifications retained", "vendors": "vendors"}


def _scaling(figures: Figures) -> Drawing:
    drawing, panels = _panels(2)
    wholes = {"drain": "vendor actors, notifications", "accept": "intake replicas, triggers"}
    for axes, (what, unit) in zip(panels, wholes.items(), strict=True):
        sizes = list(figures[what])
        axes.bar(sizes, [row["per_s"] for row in figures[what].values()], color=BLUE)
        axes.set_xlabel(unit.split(",")[0])
        axes.set_ylabel(f"{unit.split(', ')[1]} a second")
        cost = axes.twinx()
        costs = [row["cpu_ms"] for row in figures[what].values()]
        cost.plot(sizes, costs, color=RED, marker="o")
        _from_nothing(cost, costs)
        cost.set_ylabel("CPU ms each, all processes", color=RED)
    return drawing


def _elastic(figures: Figures) -> Drawing:
    drawing, (load, actors, age) = _pyplot().subplots(3, 1, sharex=True, figsize=(8, 6))
    steps = figures.get("load", [])  # not in the oldest files
    if steps:
        ends = [0.0, *(step["until_s"] for step in steps)]
        load.stairs([step["per_s"] for step in steps], ends, color=GREY, baseline=None)
    load.set_ylabel("triggers/s")
    samples = figures["samples"]
    at = [s["at_s"] for s in samples]
    for vendor in figures.get("watched", ("sms-a", "email-a")):
        actors.step(at, [s[f"{vendor}_actors"] for s in samples], where="post", label=vendor)
        age.plot(at, [s[f"{vendor}_age_s"] for s in samples], label=vendor)
    actors.set_ylabel("actors")
    actors.legend()
    age.set_ylabel("oldest waiting, s")
    age.set_xlabel("seconds")
    load.set_title("A tenfold step: load, pool size, age of the oldest waiting message")
    return drawing


def _intake_elastic(figures: Figures) -> Drawing:
    drawing, axes = _pyplot().subplots(figsize=(8, 3))
    samples = figures["samples"]
    axes.step([s["at_s"] for s in samples], [s["replicas"] for s in samples], where="post")
    axes.set(xlabel="seconds", ylabel="intake replicas", title="Intake follows the requests in hand")
    return drawing


FIRST_TRIGGER = "delivery_of_the_first_trigger_s"


def _cold_start(figures: Figures) -> Drawing:
    drawing, (start, memory, cores) = _panels(3, 4, 2.5)
    _bars(
        start,
        ["ready", "first message", "both messages"],
        [figures[name] for name in ("ready_s", f"first_{FIRST_TRIGGER}", f"last_{FIRST_TRIGGER}")],
    )
    start.set_xlabel("seconds after `up`")
    for axes, what, unit in ((memory, "pss_mib", "MiB (PSS), all processes"), (cores, "cores", "cores used")):
        _bars(axes, ["idle", "116/s"], [figures[f"idle_{what}"], figures[f"at_116_per_s_{what}"]], GREEN)
        axes.set_xlabel(unit)
    return drawing


def _soak(figures: Figures) -> Drawing:
    names = ("accept_ms_p99", "actors_pss_mib", "actors_descriptors", "redis_bytes")
    drawing, panels = _panels(len(names), 3.5, 3)
    for axes, name in zip(panels, names, strict=True):
        values = [minute[name] for minute in figures["minutes"]]
        axes.plot(values, marker="o", markersize=3)
        _from_nothing(axes, values)
        axes.set_xlabel("minute")
        slope = figures["slope_per_hour"][name]  # a run that was too short has none
        axes.set_title(name if slope is None or slope != slope else f"{name}: {slope:+g} an hour", fontsize=8)
    return drawing


def _load_step(figures: Figures) -> Drawing:
    drawing, axes = _pyplot().subplots(figsize=(6, 4))
    names = [name for name in ("as shipped", "pinned") if name in figures]
    for offset, field in ((-0.2, "step_p50_ms"), (0.2, "step_p99_ms")):
        heights = [figures[name][field]["median"] for name in names]
        axes.bar([place + offset for place in range(len(names))], heights, 0.4, label=field.split("_")[1])
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("accept, ms")
    axes.legend()
    axes.set_title(f"A step from 116 to {figures['rate_per_s']:g} triggers/s")
    return drawing


def _hotspots(figures: Figures) -> Drawing:
    drawing, (axes,) = _panels(1, 10, 3)
    subjects = figures["subjects"]
    names = list(dict.fromkeys(name for s in subjects.values() for name in s["percent_by_package"]))
    left, colours = [0.0] * len(subjects), _pyplot().get_cmap("tab20")
    for n, name in enumerate(names):
        widths = [s["percent_by_package"].get(name, 0.0) for s in subjects.values()]
        axes.barh(range(len(subjects)), widths, left=left, label=name, color=colours(n))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(subjects)), list(subjects))
    axes.set_xlabel("% of CPU time, by the package that asked for it")
    axes.legend(fontsize=7, ncols=2, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0.0)
    return drawing


CHARTS: Mapping[str, Callable[[Figures], Drawing]] = {
    "checkout_before_after": _checkout,
    "accept_latency": _accept,
    "end_to_end": _end_to_end,
    "backlog": _backlog,
    "fair_tenants": _fair_tenants,
    "dispatch_cost": _dispatch,
    "growth": _growth,
    "scaling": _scaling,
    "elastic": _elastic,
    "intake_elastic": _intake_elastic,
    "cold_start": _cold_start,
    "soak": _soak,
    "hotspots": _hotspots,
    "load_step": _load_step,
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
