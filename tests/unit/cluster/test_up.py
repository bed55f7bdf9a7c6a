"""`dispatcher up`, with its parts replaced: reloads, failed starts, and stops."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.local import up as module
from cluster.local.door import CLOSED, LEAVING
from cluster.local.signals import Signals
from cluster.local.up import Options, Up
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.errors import ConfigError, SelfTestError, StartError
from serve_app.start_watch import Found

RUNNING = {"vendor-a": "1", "vendor-b": "2", "intake": "3"}


class Applications:
    """Stands in for `serve_app.applications`. It notes which applications are restored, and raises an error in the
    functions that `fails` names.
    """

    def __init__(self, *fails: str) -> None:
        self.fails, self.restored = fails, list[dict[str, str]]()

    def apply(self, settings: object, runtime: object, running: object, secrets: object) -> dict[str, str]:
        if "apply" in self.fails:
            raise RuntimeError("Deploying application vendor-a failed:\nlong\nlonger\n")
        return {"vendor-a": "9"}

    def fingerprints(self, settings: object, runtime: object, secrets: object) -> dict[str, str]:
        return {"vendor-a": "9", "vendor-b": "2", "intake": "3"}

    def restore(self, settings: object, runtime: object, running: object, touched: dict[str, str]) -> None:
        if "restore" in self.fails:
            raise RuntimeError("no cluster")
        self.restored.append(touched)


def reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, *fails: str
) -> tuple[Up, Applications, Settings]:
    """Return a program that ran an empty configuration and has reloaded `text`, with its fake applications and the
    earlier settings.
    """
    fake = Applications(*fails)
    monkeypatch.setitem(sys.modules, "serve_app.applications", fake)  # type: ignore[arg-type]
    path = tmp_path / "c.yaml"
    path.write_text(text)
    up, before = Up(Options(tmp_path, path)), parse_settings({})
    up._settings, up._running = before, dict(RUNNING)
    up._reload()
    return up, fake, before


@pytest.mark.parametrize(
    "text",
    [
        "vendors: {a: {adapter: smtp, channel: email, options: {sendr: Shop}}}",
        "vendors: {a: {adapter: smtp, channel: email, options: {host: '${NO_SUCH}', sender: a@b.example}}}",
        "vendors: [",
        "\x00",
    ],
)
def test_a_wrong_file_changes_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reload with a wrong file prints one line with the reason and changes nothing (lavinmq 2080: a typing mistake
    ended the broker).
    """
    up, fake, before = reloaded(tmp_path, monkeypatch, text)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("configuration refused, the one before stays: ")
    assert (up._settings, up._running, fake.restored) == (before, RUNNING, [])


def test_an_error_of_our_own_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any exception while the file is read is printed, and the service continues with the earlier configuration."""

    def broken(path: Path) -> Settings:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr("cluster.local.up.load_proven", broken)
    up, _, before = reloaded(tmp_path, monkeypatch, "")
    assert "RecursionError; maximum recursion depth exceeded" in capsys.readouterr().err
    assert (up._settings, up._running) == (before, RUNNING)


def test_what_fails_while_it_is_applied_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If applying a new configuration fails, the earlier one is restored in every application that was touched."""
    up, fake, before = reloaded(tmp_path, monkeypatch, "", "apply")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("configuration not applied, the one before is put back: RuntimeError; Deploying")
    assert second == "the configuration before runs"
    assert (up._settings, up._running) == (before, RUNNING)
    assert fake.restored == [{"vendor-a": "9", "vendor-b": "2", "intake": "3"}]


def test_what_cannot_be_put_back_is_run_with_the_next_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If restoring fails too, the program continues, and every application counts as changed at the next reload."""
    up, _, _ = reloaded(tmp_path, monkeypatch, "", "apply", "restore")
    assert "could not be put back everywhere: RuntimeError; no cluster" in capsys.readouterr().err
    assert up._running == dict.fromkeys(RUNNING, "")


def test_a_wrong_file_is_found_before_anything_is_touched(tmp_path: Path) -> None:
    """With a wrong file or Redis URL, `up` fails before it creates its state directory."""
    (tmp_path / "c.yaml").write_text("vendors: {a: {adapter: smtp, channel: email}}")
    for options in (
        Options(tmp_path / "state", tmp_path / "c.yaml"),
        Options(tmp_path / "state", tmp_path / "c.yaml", redis_url="localhost:6379"),
    ):
        with pytest.raises(ConfigError, match=r"vendors\.a\.options\.host: is needed|--redis-url: must begin"):
            Up(options).run()
    assert not (tmp_path / "state").exists()


class Starting:
    """Stands in for `serve_app.applications` during a start. Each call of `statuses` returns the next of `turns`, or
    raises it if it is an exception. The last of `turns` is used again and again.
    """

    def __init__(self, *turns: dict[str, Found] | Exception) -> None:
        self.turns, self.begun = list(turns), list[set[str]]()

    def fingerprints(self, settings: object, runtime: object, secrets: object) -> dict[str, str]:
        return {"vendor-a": "1", "intake": "2"}

    def begin(self, settings: object, runtime: object, names: set[str]) -> None:
        self.begun.append(set(names))

    def statuses(self) -> dict[str, Found]:
        found = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        if isinstance(found, Exception):
            raise found
        return found


def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *turns: dict[str, Found] | Exception) -> tuple[Up, Any]:
    fake, up = Starting(*turns), Up(Options(tmp_path))
    monkeypatch.setitem(sys.modules, "serve_app.applications", fake)  # type: ignore[arg-type]
    monkeypatch.setattr("cluster.local.up.time.sleep", lambda seconds: None)
    up._start_applications(parse_settings({}))
    return up, fake


UP, SLOW, GONE = Found(True), Found(False, reason="failed its health check"), Found(False, True, "no such file")


def test_a_start_goes_on_whoever_dies_or_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """During a start, one application is slow, and Ray raises an error once. The start waits and goes on.

    An application is started again only if Serve has given it up.
    """
    up, fake = started(
        *(tmp_path, monkeypatch),
        *({"vendor-a": UP, "intake": SLOW}, RuntimeError("the controller died"), {"vendor-a": UP, "intake": GONE}),
        {"vendor-a": UP, "intake": UP},
    )
    assert fake.begun == [{"vendor-a", "intake"}, {"intake"}]
    assert up._running == {"vendor-a": "1", "intake": "2"}
    said = capsys.readouterr().err.splitlines()
    assert said == ["start: RuntimeError; the controller died; again in 1 s", "still starting: intake (no such file)"]


def test_a_start_ends_for_what_cannot_mend_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start ends with one sentence if an application fails three times, or if Serve never answers."""
    with pytest.raises(ConfigError, match=r"^intake did not start in 3 runs: no such file$"):
        started(tmp_path, monkeypatch, {"vendor-a": UP, "intake": GONE})
    with pytest.raises(ConfigError, match=r"^Ray Serve does not answer: RuntimeError; gone$"):
        started(tmp_path, monkeypatch, RuntimeError("gone"))


def test_a_start_ends_where_a_signal_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A SIGTERM ends the start, also in its first moments.

    Linux ignores a signal without a handler if `up` is PID 1 of a container, so the handlers are set first.
    """
    up, done = Up(Options(tmp_path / "state", sandbox=True)), list[str]()

    def start_parts() -> Settings:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        return parse_settings({})

    monkeypatch.setattr(up, "_start_parts", start_parts)
    monkeypatch.setattr(up, "_start_ray", lambda: done.append("ray"))
    monkeypatch.setattr(up, "_stop", lambda: done.append("stopped"))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    began_s = time.monotonic()
    try:
        up.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert done == ["stopped"] and time.monotonic() - began_s < 30
    assert "stopped before it was ready" in capsys.readouterr().err


@pytest.mark.parametrize(("fails", "part"), [("init", "Ray"), ("start", "Ray Serve")])
def test_what_ray_says_at_a_start_is_one_sentence(
    fails: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Ray or Serve fails to start, the error is one line with the cause and the folder of the logs.

    All parts are stopped.
    """

    def refuse(**_: object) -> None:
        raise RuntimeError("The current node timed out during startup.\n\nSome processes failed.\n" + "and more\n" * 60)

    class Ray:
        init = refuse if fails == "init" else lambda **_: None
        serve = type("Serve", (), {"start": staticmethod(refuse if fails == "start" else lambda **_: None)})

    up, done = Up(Options(tmp_path / "state", sandbox=True)), list[str]()
    monkeypatch.setitem(sys.modules, "ray", Ray)  # type: ignore[arg-type]
    monkeypatch.setattr(up, "_start_parts", lambda: parse_settings({}))
    monkeypatch.setattr(up._signals, "catch", lambda: None)
    monkeypatch.setattr(up, "_stop", lambda: done.append("stopped"))
    monkeypatch.setattr("cluster.local.up.prove_channels", nothing)
    monkeypatch.setattr("cluster.local.up.leave_out_unused", lambda _: None)
    monkeypatch.setattr("cluster.local.up.ray_settings.remove_old_sessions", lambda folder: None)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    with pytest.raises(StartError) as caught:
        up.run()
    (said,) = str(caught.value).splitlines()
    assert said.startswith(f"{part} did not start: RuntimeError; The current node timed out during startup.; Some proc")
    assert said.endswith("/ray") and "; its logs are in /" in said and len(said) < 400
    assert done == ["stopped"]


async def nothing(_: Settings) -> None:
    """Stand in for `prove_channels`, without any check."""


def test_a_process_that_cannot_deliver_is_found_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the self-test fails, Ray is not started, and the parts that already run are stopped."""
    up, done = Up(Options(tmp_path / "state", sandbox=True)), list[str]()

    async def fails(_: Settings) -> None:
        raise SelfTestError("no message can be delivered by sms here")

    monkeypatch.setattr(up, "_start_parts", lambda: parse_settings({}))
    monkeypatch.setattr(up._signals, "catch", lambda: None)
    monkeypatch.setattr(up, "_start_ray", lambda: done.append("ray"))
    monkeypatch.setattr(up, "_stop", lambda: done.append("stopped"))
    monkeypatch.setattr("cluster.local.up.prove_channels", fails)
    with pytest.raises(SelfTestError):
        up.run()
    assert done == ["stopped"]


@pytest.mark.parametrize(("found", "ready"), [("ours", True), ("theirs", False), ("", False), (None, False)])
def test_only_our_own_readiness_counts(
    tmp_path: Path, found: str | None, ready: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` is ready only if its own installation answers at the address. If another one answers, the error says so."""
    up = Up(Options(tmp_path))
    up._runtime = {"installation": "ours"}
    monkeypatch.setattr(module, "answering", lambda url: found)
    if ready:
        up._await_ready()
    else:
        monkeypatch.setattr(module, "READY_S", 0.15)
        with pytest.raises(ConfigError, match="not ready") as caught:
            up._await_ready()
        assert ("another installation answers" in str(caught.value)) == (found is not None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::1", "192.0.2.7"])
def test_replicas_listen_on_loopback_whatever_the_service_does(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas listen on 127.0.0.1 whatever `--host` is. So nobody outside can bypass HAProxy and its deadlines."""
    import ray
    from ray import serve

    given = list[dict[str, Any]]()
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(serve, "start", lambda **options: given.append(options))
    monkeypatch.setattr(module, "leave_out_unused", lambda _: None)
    monkeypatch.setattr(module.ray_settings, "init_arguments", lambda _: {})
    monkeypatch.setattr(sys, "platform", "linux")
    up = Up(Options(tmp_path, host=host, port=18_000))
    monkeypatch.setattr(up._state, "runtime_dir", lambda: tmp_path)
    up._start_ray()
    assert [options["http_options"] for options in given] == [{"host": "127.0.0.1", "port": 18_000}]


class DoorNotes:
    """Stands in for HAProxy. `told` lists the signs of each call of `tell`, with the second of the call."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s, self.told = now_s, list[tuple[float, tuple[str, ...]]]()

    def tell(self, words: tuple[str, ...]) -> bool:
        self.told.append((round(self.now_s(), 1), words))
        return True


@pytest.mark.parametrize(
    ("notice_s", "signals", "told"),
    [
        (2.5, {0: signal.SIGTERM}, [(0.0, LEAVING), (1.0, LEAVING), (2.0, LEAVING), (2.5, CLOSED)]),
        (0.0, {0: signal.SIGTERM}, [(0.0, CLOSED)]),
        (60.0, {0: signal.SIGINT}, [(0.0, CLOSED)]),
        (60.0, {0: signal.SIGTERM, 1.5: signal.SIGINT}, [(0.0, LEAVING), (1.0, LEAVING), (1.5, CLOSED)]),
    ],
    ids=["announced", "without a notice", "Ctrl-C", "a second signal"],
)
def test_a_stop_is_said_before_nothing_more_is_accepted(
    notice_s: float,
    signals: dict[float, int],
    told: list[tuple[float, tuple[str, ...]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGTERM asks the service to stop. HAProxy is first told to answer 503 to health checks. When the notice time is
    over, HAProxy is told to refuse triggers too.

    After Ctrl-C or a second signal, HAProxy is told both at once.
    """
    passed_s = 0.0

    def sleep(seconds: float) -> None:
        nonlocal passed_s
        passed_s = round(passed_s + seconds, 3)
        if passed_s in signals:
            up._signals.note(signals[passed_s])

    up = Up(Options(tmp_path, stop_notice_s=notice_s))
    door = DoorNotes(lambda: passed_s)
    up._door, up._signals = door, Signals(lambda: passed_s)  # type: ignore[assignment]
    up._signals.starting = False
    up._signals.note(signals[0])
    monkeypatch.setattr(up, "_mend", lambda now_s: None)
    with monkeypatch.context() as patched:
        patched.setattr(module, "time", SimpleNamespace(monotonic=lambda: 100.0 + passed_s, sleep=sleep))
        up._leave()
    assert door.told == told
