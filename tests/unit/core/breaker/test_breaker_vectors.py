"""Compares our breaker with 150 recorded scenarios of resilience4j 2.4.0."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.replay_breaker import Replay, main, scenarios

VECTORS = Path(__file__).parents[3] / "data" / "breaker_vectors.jsonl.gz"
SCENARIOS = list(scenarios(VECTORS))


@pytest.mark.parametrize("family", sorted({s["family"] for s in SCENARIOS}))
def test_every_step_matches_the_recording(family: str) -> None:
    """Each step of each scenario of a family gives the recorded answer, state, rates, counts and events."""
    for scenario in (s for s in SCENARIOS if s["family"] == family):
        replay = Replay(scenario)
        for index, step in enumerate(scenario["steps"]):
            assert replay.step(step) == [], f"scenario {scenario['id']}, step {index} {step[:3]}"


def test_the_sample_is_whole() -> None:
    """The recording has all 150 scenarios. In some of them late results count, and in the others they are dropped."""
    assert len(SCENARIOS) == 150
    assert Counter(s["late"] for s in SCENARIOS).keys() == {"count", "drop"}


def test_the_replay_command_reports_a_difference(tmp_path: Path) -> None:
    """For a changed recording, `benchmarks.replay_breaker` exits with 1 and names the step and field of the
    difference. For the real recording it exits with 0.
    """
    import json

    scenario = json.loads(json.dumps(SCENARIOS[0]))
    scenario["steps"][3][4] = "X"
    path = tmp_path / "changed.jsonl"
    path.write_text(json.dumps(scenario) + "\n")
    result = CliRunner().invoke(main, [str(path)])
    assert result.exit_code == 1
    assert "step 3" in result.output
    assert "state" in result.output
    assert CliRunner().invoke(main, [str(VECTORS)]).exit_code == 0
