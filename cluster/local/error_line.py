"""Shows an error on one line, without a traceback."""

from __future__ import annotations

from dispatcher.errors import ConfigError


def one_line(error: Exception) -> str:
    """Return the whole text of a `ConfigError` on one line, or the type and the first two lines of any other error."""
    cause = getattr(error, "cause", None)  # an error from an actor of Ray: its own text begins with the actor's place
    error = cause if isinstance(cause, Exception) else error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    lines = [line for line in lines if "[ALERT]" in line] or lines  # HAProxy's cause stands below its version
    return "; ".join(lines if isinstance(error, ConfigError) else [type(error).__name__, *lines[:2]])
