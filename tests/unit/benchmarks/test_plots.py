"""Every benchmark that writes figures has a chart, and each committed result can be drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.__main__ import QUESTIONS
from benchmarks.plots import CHARTS, FOLDER, can_draw, draw

WITHOUT = {"replay_breaker", "profile", "model_check"}
"""Benchmarks without a chart: one only passes or fails, and two show figures of the others."""


def test_every_benchmark_with_figures_has_a_chart() -> None:
    assert set(CHARTS) == {question.name for question in QUESTIONS} - WITHOUT


@pytest.mark.skipif(not can_draw(), reason="matplotlib is an extra")
@pytest.mark.parametrize("name", [name for name in CHARTS if (FOLDER / f"{name}.json").exists()])
def test_a_committed_result_can_be_drawn(name: str, tmp_path: Path) -> None:
    file = Path(shutil.copy(FOLDER / f"{name}.json", tmp_path))
    drawn = draw(file)
    assert drawn is not None
    assert drawn.stat().st_size > 1000


@pytest.mark.skipif(not can_draw(), reason="matplotlib is an extra")
def test_figures_of_an_older_shape_are_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A result of an older shape is not drawn, and a line says so.

    No error is raised, because the benchmark itself succeeded.
    """
    file = tmp_path / "soak.json"
    file.write_text('{"benchmark": "soak", "figures": {"minutes": [{}]}}')
    assert draw(file) is None
    assert "soak.json: not drawn" in capsys.readouterr().out
