"""Benchmarks are run, judged and written as promised.

A loss fails the run, and a brief run overwrites no committed results.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import results, whole_service
from benchmarks.__main__ import QUESTIONS, Question
from benchmarks.end_to_end import together, worth_trying
from benchmarks.growth import over_least, verdicts
from cluster.rehearsal.load import Posted
from cluster.rehearsal.verdict import Verdict
from dispatcher.errors import ConfigError

# ---- judged


def spread(*values: float) -> dict[str, Any]:
    return {"median": values[0], "all": list(values)}


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([{"lost": 1, "unexplained": 0}], id="lost"),
        pytest.param([{"lost": 0, "unexplained": 0}, {"lost": 0, "unexplained": 2}], id="repeated, in one row"),
        pytest.param([{"lost": spread(0, 0, 1)}], id="lost, in one round, which no median shows"),
    ],
)
def test_who_loses_fails(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(click.ClickException) as failed:
        results.convict(rows)
    assert failed.value.exit_code == 1


def test_an_explained_repeat_is_forgiven() -> None:
    results.convict([{"lost": 0, "duplicated": 5, "unexplained": 0}, {"unexplained": spread(0, 0)}])


class Told:
    """A service that knows one trigger.

    The first attempt of its SMS had an unknown outcome, and its e-mail was accepted at once.
    """

    def get(self, path: str) -> Any:
        assert path == "/v1/triggers?idempotency_key=N000001"
        sms = {"channel": "sms", "attempts": [{"outcome": "unknown"}, {"outcome": "accepted"}]}
        return {"notifications": [sms, {"channel": "email", "attempts": [{"outcome": "accepted"}]}]}


@pytest.mark.parametrize(("name", "unexplained"), [("N000001/sms", 0), ("N000001/email", 1)])
def test_a_repeat_is_explained_by_an_unknown_outcome_of_that_message(name: str, unexplained: int) -> None:
    """An unknown outcome explains a repeat of the same message only, and not of another message of the trigger."""
    verdict = Verdict(lost=["N000002/sms"], duplicated={name: 2})
    found = whole_service.losses(Told(), verdict)  # type: ignore[arg-type]
    assert found == {"lost": 1, "duplicated": 2, "unexplained": unexplained}


def run(**changes: Any) -> whole_service.Run:
    """Return a run of 100 triggers.

    Each was accepted after 5 ms at the first try, and the last was delivered 0.5 s after it was due.
    """
    posted = [Posted(f"N{n:06d}", float(n), accepted_s=n + 0.005, first_status=202) for n in range(100)]
    verdict = Verdict(delivered_at={"N000099/sms": 99.5})
    return whole_service.Run(changes.pop("posted", posted), changes.pop("verdict", verdict), {}, 1.0, {})


def test_a_rate_is_sustained_when_it_could_have_gone_on() -> None:
    assert run().sustained


def test_one_stall_is_no_overload() -> None:
    """A tenth of the deliveries of a run come a second late, as after one stall. The run counts as sustained, because
    the deliveries after that were in time.
    """
    stalled = {f"N{n:06d}/sms": n + (1.0 if 40 <= n < 50 else 0.05) for n in range(100)}
    assert run(verdict=Verdict(delivered_at=stalled)).sustained


@pytest.mark.parametrize(
    "changes",
    [
        {"posted": [Posted("N000000", 0.0, accepted_s=0.01, first_status=503)]},
        {"posted": [Posted("N000000", 99.0, accepted_s=99.6, first_status=202)]},
        {"verdict": Verdict(lost=["N000001/sms"])},
        {"verdict": Verdict(duplicated={"N000001/sms": 1})},
        {"verdict": Verdict(delivered_at={"N000099/sms": 102.0})},
        {"verdict": Verdict(delivered_at={f"N{n:06d}/sms": n + 0.05 + 0.006 * n for n in range(100)})},
    ],
    ids=["a second try", "slow to accept", "lost", "repeated", "late", "later and later"],
)
def test_else_it_is_not(changes: dict[str, Any]) -> None:
    assert not run(**changes).sustained


# ---- waiting for the last of them


def arriving(monkeypatch: pytest.MonkeyPatch, looks: Sequence[int], others: bool = False) -> list[int]:
    """Replace the functions with which the benchmark looks at the vendors. At look number n, `looks[n]` of ten SMS have
    arrived.

    With `others`, each look also finds one more message of somebody else. Return a list. Each time the benchmark reads
    all deliveries, the number of arrived SMS is added to the list.
    """
    now, found, readings = [0.0], [0], list[int]()

    def arrived(_: Any) -> int:
        now[0] += 0.1
        found[0] += 1
        mine = looks[min(found[0], len(looks)) - 1]
        return mine + (found[0] if others else 0)

    def collect(_: Any) -> dict[str, list[dict[str, Any]]]:
        mine = looks[min(found[0], len(looks)) - 1]
        readings.append(mine)
        sms = [{"text": f"order N{n:06d}", "to": "", "t": 1.0} for n in range(mine)]
        email = [{"text": f"order N{n:06d}", "to": "", "t": 1.0} for n in range(10)]
        return {"sms-a": sms, "sms-b": [], "email-a": email, "email-b": []}

    monkeypatch.setattr(whole_service, "arrived", arrived)
    monkeypatch.setattr(whole_service, "collect", collect)
    monkeypatch.setattr(whole_service.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(whole_service.time, "sleep", lambda seconds: None)
    return readings


TEN = [Posted(f"N{n:06d}", 0.0, accepted_s=0.1) for n in range(10)]


def test_all_is_read_when_no_more_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All deliveries are read once, at the end.

    Reading them at each look would cost CPU of the machine that is measured.
    """
    readings = arriving(monkeypatch, [1, 3, 5, 7, 10])
    assert not whole_service.drained(None, TEN).lost  # type: ignore[arg-type]
    assert readings == [10]


def test_what_comes_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark waits for a message that comes 30 seconds after all others, as a retry may."""
    readings = arriving(monkeypatch, [9] * 300 + [10])
    assert not whole_service.drained(None, TEN).lost  # type: ignore[arg-type]
    assert readings == [9, 10]


def test_deliveries_of_others_do_not_delay_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    arriving(monkeypatch, [10], others=True)
    assert not whole_service.drained(None, TEN).lost  # type: ignore[arg-type]


@pytest.mark.parametrize("others", [False, True])
def test_what_never_comes_is_lost(monkeypatch: pytest.MonkeyPatch, others: bool) -> None:
    arriving(monkeypatch, [9], others)
    assert whole_service.drained(None, TEN).lost == ["N000009/sms"]  # type: ignore[arg-type]


# ---- chosen


def test_what_is_asked_about_is_always_tried() -> None:
    """After two rates that were not sustained, only the rates in `WANTED` (700/s and 1,157/s) are tried."""
    assert worth_trying(300, [True, False])
    assert not worth_trying(400, [True, False, False])
    assert worth_trying(700, [False, False])
    assert worth_trying(1157, [False, False])


def test_rounds_become_medians_and_no_loss_is_averaged_away() -> None:
    """The result of several rounds has the median of each figure and the sum of the losses.

    If one round was not sustained, the rate is not.
    """

    def row(sustained: bool, p99_ms: float, lost: int, intake_ms: float) -> dict[str, Any]:
        more = {"accept_ms_p99": p99_ms, "lost": lost, "cpu_ms_per_trigger": {"intake": intake_ms}}
        return {"rate_per_s": 116.0, "sustained": sustained, **more}

    rows = [row(True, 5.0, 0, 0.4), row(False, 9.0, 1, 0.6), row(True, 4.0, 0, 0.5)]
    assert together(rows) == {**row(False, 5.0, 1, 0.5), "rounds": rows}
    assert together([rows[0], rows[2]])["sustained"]


def test_growth_says_what_is_missed() -> None:
    """The verdict of the growth benchmark names each figure that is above its limit.

    A cost is above its limit if the greatest of its values, over all measured sizes, is more than 1.10 times the
    smallest. The bytes of a queued and of a retained notification have fixed limits.
    """
    by_size = {"1": {"a": {"median": 1.1}, "b": {"median": 1.0}}, "2": {"a": {"median": 1.0}, "b": {"median": 1.11}}}
    ratios = over_least(by_size)
    assert ratios == {"a": 1.1, "b": 1.11}
    missed = verdicts(
        {
            "most_over_least": {"backlog": ratios},
            "bytes": {"1000": {"queued": 1024.0, "retained": 600.0}, "100000": {"queued": 1025.0, "retained": 601.0}},
        }
    )
    assert missed == [
        "b by backlog: × 1.11, more than 1.10",
        "bytes queued of 100,000: 1025, more than 1024",
        "bytes retained of 100,000: 601, more than 600",
    ]


# ---- run and written


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (["--brief"], results.BRIEF),
        ([], None),
        (["growth"], None),
        (["--brief", "--results", "elsewhere"], Path("elsewhere")),
    ],
)
def test_a_brief_run_writes_elsewhere(monkeypatch: pytest.MonkeyPatch, words: list[str], folder: Path | None) -> None:
    """A brief run writes its figures to the folder for brief runs, or to the folder that is given.

    The parameter `folder` is None if a run writes to the committed folder.
    """
    asked: list[Path | None] = []

    def noted(question: Question, brief: bool, to: Path | None) -> bool:
        asked.append(to)
        return True

    monkeypatch.setattr(command, "_run", noted)
    done = CliRunner().invoke(command.main, words)
    assert done.exit_code == 0, done.output
    assert set(asked) == {folder}


def test_a_smoke_reads_when_all_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--quick`, `profile` and `model_check` run last and in this order, because they read the results of the
    others.
    """
    order: list[str] = []

    def noted(question: Question, brief: bool, to: Path | None, output: Any = None) -> bool:
        order.append(question.name)
        return True

    monkeypatch.setattr(command, "_run", noted)
    assert CliRunner().invoke(command.main, ["--quick"]).exit_code == 0
    assert order[-2:] == ["profile", "model_check"]
    assert sorted(order) == sorted(["smoke", *(question.name for question in QUESTIONS if not question.shares)])


def test_a_smoke_leaves_out_no_benchmark() -> None:
    """A smoke run has every benchmark.

    The benchmarks that share an installation are one run, with the sum of their time limits.
    """
    smoke, *alone = command.together(QUESTIONS)
    assert sorted((*smoke.arguments, *(question.name for question in alone))) == sorted(q.name for q in QUESTIONS)
    assert smoke.quick_s_max == sum(question.quick_s_max for question in QUESTIONS if question.shares)


def test_one_smoke_alone_has_an_installation_of_its_own() -> None:
    """A benchmark that is run alone gets its own installation, so that its changes of the configuration apply."""
    (backlog,) = (question for question in QUESTIONS if question.name == "backlog")
    assert command.together([backlog]) == [backlog]


def test_benchmarks_that_share_an_installation_post_no_order_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two benchmarks on one installation use different order numbers.

    An order number is also the idempotency key. For a known key the installation would repeat its answer and send
    nothing.
    """
    monkeypatch.setattr(whole_service, "forget", lambda _: None)
    monkeypatch.setattr(whole_service, "release_all", lambda _: None)
    monkeypatch.setattr(whole_service, "recovered", lambda *_: True)
    monkeypatch.setenv("SANDBOX_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SANDBOX_SMTP_PORT", "25")
    shared = whole_service.Shared(object(), 1.0)  # type: ignore[arg-type]
    monkeypatch.setattr(whole_service, "_shared", shared)
    keys: list[str] = []
    for _ in range(2):
        with whole_service.running({"vendors": {"sms-a": {"rate_per_s": 5.0}}}) as (service, _):
            assert service is shared.service
            keys += [key for key, _ in whole_service.bodies(3)]
    assert len(set(keys)) == 6


def test_what_a_benchmark_changes_is_validated_where_it_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SANDBOX_SMTP_PORT", "25")
    monkeypatch.setattr(whole_service, "_shared", whole_service.Shared(object(), 1.0))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rate_per_minute"), whole_service.running({"intake": {"rate_per_minute": 1}}):
        pass


@pytest.mark.parametrize("name", [question.name for question in QUESTIONS if question.shares])
def test_each_benchmark_that_shares_an_installation_can_be_called(name: str) -> None:
    """The command of each benchmark that shares an installation has the parameters that `benchmarks.smoke` passes."""
    assert {"quick", "results_"} <= {parameter.name for parameter in import_module(f"benchmarks.{name}").main.params}
