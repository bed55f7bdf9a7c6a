"""A start waits for an application that is not running yet, or runs it again."""

from __future__ import annotations

from serve_app.start_watch import RUNS_MAX, SAY_EVERY_S, Found, StartWatch, Step

UP, SLOW, GONE = Found(True), Found(False, reason="replica failed its health check"), Found(False, True, "no such file")


def test_what_is_slow_or_died_is_waited_for_and_said() -> None:
    """An application is slow or has died during a start. The start waits for it without a limit, because Serve replaces
    it.

    A line names the application every `SAY_EVERY_S` seconds.
    """
    watch = StartWatch(["a", "b", "c"])
    looks = [watch.look({"a": UP, "b": SLOW}, now_s / 2) for now_s in range(1000)]
    said = [look.say for look in looks if look is not None and look.say]
    assert said == ["still starting: b (replica failed its health check), c"] * int(499.5 / SAY_EVERY_S)
    assert not any(look is None or look.end or look.again for look in looks)
    assert watch.look({"a": UP, "b": UP, "c": UP}, 501.0) is None


def test_what_serve_has_given_up_is_run_again_and_then_ends_the_start() -> None:
    """An application that Serve gave up is run again.

    After `RUNS_MAX` runs the start ends with one sentence that has the replica's error.
    """
    watch = StartWatch(["a", "b"])
    again = Step(("b",), "still starting: b (no such file)")
    assert [watch.look({"a": UP, "b": GONE}, 0.0) for _ in range(RUNS_MAX - 1)] == [again] * (RUNS_MAX - 1)
    assert watch.look({"a": UP, "b": GONE}, 9.0) == Step(end="b did not start in 3 runs: no such file")


def test_one_that_starts_at_the_second_run_is_enough() -> None:
    watch = StartWatch(["a"])
    watch.look({"a": GONE}, 0.0)
    assert watch.look({"a": UP}, 1.0) is None
