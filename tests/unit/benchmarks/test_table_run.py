"""One command measures all files of the table, at rates that the machine carries."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click
import pytest

from benchmarks.measured_table import ROWS
from benchmarks.table_run import STEPS, Step, steps, sustained_per_s

ALL = steps((), 120, Path("/before"))


def test_every_file_of_the_table_is_measured() -> None:
    assert {step.name for step in ALL} == {row.file for row in ROWS}
    assert "pairs" not in {step.name for step in steps((), 120, None)}


@pytest.mark.parametrize("step", ALL, ids=[step.name for step in ALL])
def test_each_step_is_a_command_that_its_benchmark_understands(step: Step) -> None:
    """Click parses the arguments of the step, with and without a rate, and finds no fault."""
    command = import_module(f"benchmarks.{step.name}").main
    arguments = ["." if word == "/before" else word for word in step.command(116.0)[1:]]
    command.make_context(step.name, arguments)


def test_a_rate_that_is_not_carried_is_replaced_by_the_highest_that_is() -> None:
    """A step without a rate of its own never gets one, and a machine that carries the limit's rate measures that."""
    step = Step("x", 1, ("--rounds", "3"), 700.0)
    assert step.command(200.0) == ["benchmarks.x", "--rounds", "3", "--rate", "200"]
    assert step.command(700.0) == step.command(850.0) == step.command(0.0) == ["benchmarks.x", "--rounds", "3"]
    assert Step("x", 1).command(200.0) == ["benchmarks.x"]


def test_the_carried_rate_is_known_before_it_is_needed() -> None:
    names = [step.name for step in STEPS]
    needs = [step.name for step in STEPS if step.rate_per_s is not None]
    assert needs == ["load_step", "peak"]
    assert all(names.index("end_to_end") < names.index(name) for name in needs)


def test_without_results_no_rate_is_known(tmp_path: Path) -> None:
    assert sustained_per_s(tmp_path) == 0.0
    (tmp_path / "end_to_end.json").write_text('{"figures": {"highest_sustained_per_s": 300}}')
    assert sustained_per_s(tmp_path) == 300.0


def test_an_unknown_name_is_refused() -> None:
    assert [step.name for step in steps(("peak", "soak"), 5, None)] == ["peak", "soak"]
    with pytest.raises(click.BadParameter, match="speed is none of cold_start"):
        steps(("speed",), 5, None)
