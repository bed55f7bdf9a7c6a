"""An error is shown on one line together with its cause."""

from __future__ import annotations

from cluster.local.error_line import one_line


def test_the_cause_of_what_failed_in_an_actor_of_ray_is_told() -> None:
    """HAProxy's start fails inside an actor of Ray, and Ray's error begins with lines of its own. The one line for the
    user names the [ALERT] of HAProxy as the cause.
    """
    error = RuntimeError("ray::HAProxyManager.ready() (pid=1)\n  File base.py, line 456, in result")
    error.cause = RuntimeError(
        "HAProxy crashed: [NOTICE] version 2.8\n[NOTICE] path\n[ALERT] cannot bind to 0.0.0.0:80\n"
    )
    assert one_line(error) == "RuntimeError; [ALERT] cannot bind to 0.0.0.0:80"
