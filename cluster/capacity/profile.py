"""The measured costs that `dispatcher capacity` multiplies, and how far they were seen to be off.

`python -m benchmarks.profile` writes the packaged ones, profile.json beside this file.
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
"""Share of a core that is planned for: queueing beyond it doubles the waiting."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Measured costs: CPU in milliseconds, sizes in bytes.

    `…_cores_idle` are the cores that each process uses however few triggers come.
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
    """Triggers a second of one installation, to which the CPU lines were fitted."""

    error_percent: float | None = None
    """The largest error of the CPU lines that `benchmarks.model_check` finds at other rates, None if not checked."""

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Profile:
        """Read a profile and ignore keys that no field has.

        Raises:
            ConfigError: A figure is missing or no number. The message names it.
        """
        values: dict[str, Any] = {"machine": str(found.get("machine", "")), "fitted_per_s": _fitted(found)}
        values["error_percent"] = None if found.get("error_percent") is None else _figure(found, "error_percent")
        for name in (field.name for field in fields(cls) if field.name not in values):
            value = _figure(found, name)
            if name.endswith("_cores_idle") and value >= BUSY:
                raise ConfigError(
                    f"profile: {name}: {value!r} is not below {BUSY:g}, all that is planned for of a core"
                )
            values[name] = value
        return cls(**values)

    def redis_cpu_ms(self, messages: float) -> float:
        """Return the CPU time of a trigger and its messages, from accept to the last settle."""
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
    """Return the profile of a file, or without one the profile that was measured for this version."""
    try:
        return Profile.parse(json.loads((path or PACKAGED).read_text()))
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"profile: cannot be read: {error}") from None
