"""Reads the measured costs that `dispatcher capacity` multiplies, and their largest known error.

The costs that belong to this version are in profile.json beside this file. `python -m benchmarks.profile` writes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dispatcher.errors import ConfigError

PACKAGED = Path(__file__).with_name("profile.json")

BUSY = 0.6
"""The share of a core that is planned to be busy. With more than that, queueing doubles the waiting time."""


NO_COST = ("machine", "fitted_per_s", "error_percent")
"""The fields of a profile that are no measured cost."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The measured costs. CPU is in milliseconds, sizes are in bytes.

    A field such as `vendor_cores_idle` is the number of cores that one process of this kind (here a vendor actor) uses
    even without triggers.
    """

    intake_cores_idle: float
    intake_cpu_ms_per_trigger: float
    ingress_cores_idle: float
    ingress_cpu_ms_per_trigger: float
    vendor_cores_idle: float
    dispatch_cpu_ms_per_notification: float
    supervisor_cores_idle: float
    supervisor_cpu_ms_per_trigger: float
    ray_cores_idle: float
    ray_cpu_ms_per_trigger: float
    redis_cores_idle: float
    redis_cpu_ms_per_trigger_accepted: float
    redis_cpu_ms_per_notification_delivered: float
    queued_bytes_per_notification: float
    retained_bytes_per_notification: float
    aof_written_bytes_per_notification: float
    aof_kept_bytes_per_notification_queued: float
    aof_kept_bytes_per_notification_retained: float
    machine: str = ""
    fitted_per_s: tuple[float, ...] = ()
    """The rates, in triggers a second of one installation, to which the CPU costs were fitted."""

    error_percent: float | None = None
    """The largest error of the CPU costs at other rates, found by `benchmarks.model_check`. None means not checked."""

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Profile:
        """Return the profile in `found`. Unknown keys are ignored.

        Raises:
            ConfigError: A figure is missing or is not a number. The message names it.
        """
        told, fitted_per_s = str(found.get("machine", "")), _fitted(found)
        error = None if found.get("error_percent") is None else _figure(found, "error_percent")
        values: dict[str, float] = {}
        for name in (field.name for field in fields(cls) if field.name not in NO_COST):
            value = _figure(found, name)
            if name.endswith("_cores_idle") and value >= BUSY:
                raise ConfigError(
                    f"profile: {name}: {value!r} is not below {BUSY:g}, all that is planned for of a core"
                )
            values[name] = value
        return cls(**values, machine=told, fitted_per_s=fitted_per_s, error_percent=error)

    def redis_cpu_ms(self, messages: float) -> float:
        """Return the Redis CPU time of a trigger with `messages` notifications, from the accept to the last settle."""
        return self.redis_cpu_ms_per_trigger_accepted + messages * self.redis_cpu_ms_per_notification_delivered


def _figure(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(f"profile: {name}: {value!r} is not a number of 0 or more")
    return float(value)


def _fitted(found: Mapping[str, Any]) -> tuple[float, ...]:
    rates = found.get("fitted_per_s", ())
    try:
        return tuple(float(rate) for rate in rates)
    except (TypeError, ValueError):
        raise ConfigError(f"profile: fitted_per_s: {rates!r} is no list of rates") from None


def load_profile(path: Path | None) -> Profile:
    """Return the profile in the file `path`, or if it is None, the profile that was measured for this version.

    Raises ConfigError if the file cannot be read or is not a profile.
    """
    try:
        return Profile.parse(json.loads((path or PACKAGED).read_text()))
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"profile: cannot be read: {error}") from None
