"""Stops Ray. The applications are drained first, unless Ray's own processes have ended already."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cluster.local.foreground import say
from cluster.local.ray_core import core_runs


def stop_ray(
    applications: list[str],
    marker: str,
    at_once: Callable[[], bool] = lambda: False,
    drained_all: Callable[[], None] = lambda: None,
) -> bool:
    """Drain and delete the applications, call `drained_all`, then stop Ray. Return False if the drain was not
    completed.

    The drain is not completed in two cases. Ray's core processes have ended, for example after a signal to the whole
    process group. Or `at_once` returns True, because nobody wants to wait any more. In both cases notifications in
    flight stay in the store. `marker` is in the environment of this installation's processes.
    """
    import ray

    if not ray.is_initialized():
        return True

    drained = threading.Event()

    def stop() -> None:
        if applications:
            from serve_app.applications import delete_all

            delete_all(applications)
        drained.set()
        drained_all()
        ray.shutdown()  # it ends the core processes, and may return a little after their end

    if finished(stop, lambda: not at_once() and core_runs(marker)):
        return True
    if not drained.is_set():
        why = "a second signal came" if at_once() else "Ray's own processes have ended already"
        say(f"{why}: stopped without a drain; nothing is lost")
    return False


def finished(work: Callable[[], None], worth_waiting: Callable[[], bool], look_s: float = 0.5) -> bool:
    """Run `work` in a thread. Return True when `work` has ended, and False if `work` can no longer end.

    `worth_waiting` is called every `look_s` seconds and says whether `work` can still end. An error of `work` is
    raised, unless `worth_waiting` is False by then.
    """
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(look_s)
        if worker.is_alive() and not worth_waiting():
            worker.join(look_s)  # the end of Ray is a part of the work
            return not worker.is_alive()
    if failed and worth_waiting():
        raise failed[0]
    return True
