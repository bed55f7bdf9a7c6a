"""The demo ends with a verdict, and succeeds only if everything arrived exactly once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cluster.cli.main import main
from cluster.rehearsal import demo as demo_module
from cluster.rehearsal.demo import verdict_sentence
from cluster.rehearsal.load import Posted
from dispatcher.errors import DispatcherError
from tests.unit.cluster.ledgers import CHANNELS, FIRST, SECOND, ledger, posted, said


class FakeService:
    """Stands in for a running installation. The test gives what its vendors received."""

    def __init__(self, received: dict[str, list[dict[str, Any]]], code: int, left: list[str]) -> None:
        self._received, self._code, self._left = received, code, left
        self.api = "http://127.0.0.1:1"
        self.cleaned = 0
        self.stalled: list[dict[str, Any]] = []

    def get(self, path: str) -> dict[str, Any]:
        assert path == "/healthz"
        return {"stalled": self.stalled}

    def start(self) -> float:
        return 20.0

    def received(self, vendor: str) -> dict[str, Any]:
        return {"received": self._received[vendor], "call_log": [[101.0, "accepted"]]}

    def stop(self) -> int:
        return self._code

    def clean_up(self) -> list[str]:
        self.cleaned += 1
        return self._left


def run_demo(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    posts: list[Posted],
    received: dict[str, list[dict[str, Any]]],
    *,
    code: int = 0,
    left: tuple[str, ...] = (),
    stalled: tuple[str, ...] = (),
) -> tuple[int, str, dict[str, Any]]:
    """Run the demo on a fake service, which has received `received`. Return the exit status, the output, and the
    summary file.
    """
    service = FakeService(received, code, list(left))
    service.stalled = [{"vendor": vendor} for vendor in stalled]
    drained = demo_module.drained
    monkeypatch.setattr(demo_module, "Service", lambda state_dir: service)
    monkeypatch.setattr(demo_module, "_run_shown", lambda *_, **__: (posts, 100.0, 110.0))
    monkeypatch.setattr(demo_module, "drained", lambda service, posted: drained(service, posted, -1.0))
    file = tmp_path / "summary.json"
    result = CliRunner().invoke(main, ["demo", "--triggers", str(len(posts)), "--json", str(file)])
    assert service.cleaned == 1
    return result.exit_code, " ".join(result.output.split()), json.loads(file.read_text())


def test_the_demo_succeeds_when_all_is_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If everything was delivered once, the demo exits with 0 and its sentence says so."""
    code, output, summary = run_demo(monkeypatch, tmp_path, posted(FIRST, SECOND), ledger())
    assert code == 0
    assert "nothing lost, nothing repeated, all delivered" in output
    assert summary["delivered"] == summary["expected notifications"] == 4
    assert verdict_sentence(summary) is None


FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "lost": (
        {"received": ledger(sms_a=[said(FIRST)])},
        "1 acknowledged notifications were not delivered",
    ),
    "repeated by one vendor": (
        {"received": ledger(sms_a=[said(FIRST), said(FIRST), said(SECOND)])},
        "1 notifications were delivered more than once",
    ),
    "repeated by two vendors": (
        {"received": ledger(sms_b=[said(FIRST), said(SECOND)])},
        "2 notifications were delivered more than once",
    ),
    "wrong text": (
        {"received": ledger(sms_a=[said(FIRST), {**said(SECOND), "text": "Hello"}])},
        "1 acknowledged notifications were not delivered",
    ),
    "nothing delivered": (
        {"received": {name: [] for name in CHANNELS}},
        "4 acknowledged notifications were not delivered",
    ),
    "nothing acknowledged": (
        {"posts": posted(FIRST, SECOND, accepted=False), "received": {name: [] for name in CHANNELS}},
        "2 triggers were never acknowledged",
    ),
    "never acknowledged": (
        {"posts": [*posted(FIRST), *posted(SECOND, accepted=False)]},
        "1 triggers were never acknowledged",
    ),
    "a stall that ended": ({"stalled": ("sms-b",)}, "delivery was stalled though its vendor was healthy: sms-b"),
    "a bad end": ({"code": -9}, "`up` exited with -9"),
    "processes left": ({"left": ("redis 4711",)}, "processes were left"),
}


@pytest.mark.parametrize(("changes", "sentence"), FAILURES.values(), ids=FAILURES)
def test_the_demo_fails_when_anything_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    """If anything went wrong, the demo exits with 1 and a sentence that names it, and never prints the sentence of
    success.
    """
    arguments = {"posts": posted(FIRST, SECOND), "received": ledger(), **changes}
    code, output, _ = run_demo(monkeypatch, tmp_path, **arguments)
    assert code == 1
    assert f"FAILED: {sentence}" in output
    assert "nothing lost" not in output


def test_the_demo_fails_when_it_cannot_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the service does not start, the demo exits with 1 and the reason, and cleans up what it started."""

    class Broken(FakeService):
        def start(self) -> float:
            raise DispatcherError("`dispatcher up` did not become ready")

    service = Broken(ledger(), 0, [])
    monkeypatch.setattr(demo_module, "Service", lambda state_dir: service)
    result = CliRunner().invoke(main, ["demo"])
    assert (result.exit_code, service.cleaned) == (1, 1)
    assert "did not become ready" in result.output


def test_the_judge_waits_for_what_is_still_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """While deliveries are missing, the demo asks again until all have arrived."""
    late = ledger(sms_a=[said(FIRST)])
    monkeypatch.setattr(demo_module.time, "sleep", lambda _: late["sms-a"].append(said(SECOND)))
    verdict = demo_module.drained(FakeService(late, 0, []), posted(FIRST, SECOND))  # type: ignore[arg-type]
    assert verdict.clean
