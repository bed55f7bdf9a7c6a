"""The values that the supervisor hears, knows and publishes: beats, reports, overrides and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypedDict

from dispatcher.core.plan.sharing import Share

CLOSED, HALF_OPEN, OPEN, FORCED_OPEN, ABSENT = "closed", "half_open", "open", "forced_open", "absent"
QUARANTINED = "quarantined"


class Snapshot(TypedDict):
    """A process's metrics since its start: counters as [name, labels, value], histograms as [name, labels, row]."""

    c: list[list[Any]]
    h: list[list[Any]]


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign that an actor is alive, published every 250 ms. Publishing costs Redis no fsync."""

    incarnation: str
    vendor: str
    replica: str
    pid: int
    node: str

    def to_dict(self) -> dict[str, Any]:
        """Return the published form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Beat:
        """Read a beat as it was heard. What a newer version added is left out."""
        return cls(**{"replica": "", "pid": 0, "node": "", **known(cls, data)})


@dataclass(frozen=True, slots=True)
class CountryCutOff:
    """A country that a vendor does not reach, the state of its breaker, and for how long it was not closed."""

    state: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """One vendor actor's report about itself, sent twice a second by default, and at once when its breaker changes."""

    incarnation: str
    vendor: str
    breaker: str
    retry_after_s: float = 0.0
    attempts: int = 0
    window: Mapping[str, int] = field(default_factory=dict)
    evidence: Mapping[str, int] | None = None  # what of it speaks of the vendor (`per_country`); None: all
    cut_off: Mapping[str, CountryCutOff] = field(default_factory=dict)
    in_flight: int = 0
    concurrency: int = 0  # how many calls the actor allows itself
    replica: str = ""
    pid: int = 0
    node: str = ""
    version: str = ""
    calls_per_s: float = 0.0
    latency_s: float = 0.0
    reason: str = ""
    contradicted: Mapping[str, int] = field(default_factory=dict)
    """Vendor → messages of the last window that it refused by an unlisted word, and that this actor's vendor accepted.
    """
    unreached: int = 0
    """Failures in a row that happened before the vendor was reached: DNS, connect, TLS."""
    epoch: int = 0
    office: str = ""
    """The epoch of the plan that the actor works by, and its supervisor's term."""
    cpu: float | None = None
    """Cores that its process used in the last second; None: not measured."""
    waiting: float = 0.0
    """Seconds of each second in which the process was ready to run and had no core."""
    free_cores: float | None = None
    """Cores of its node that nobody used in the last seconds; None: not measured."""
    process: str = ""
    """The name under which its metrics count; it belongs to one life of the process."""
    metrics: Snapshot | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the published form. The metrics are not copied, because they are many and are sent often."""
        told = asdict(replace(self, metrics=None))
        del told["metrics"]
        return told if self.metrics is None else {**told, "metrics": self.metrics}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Read a report as it was heard. What a newer version added is left out."""
        cut_off = {
            name: CountryCutOff(**known(CountryCutOff, found)) for name, found in (data.get("cut_off") or {}).items()
        }
        return cls(**{**known(cls, data), "free_cores": number(data.get("free_cores")), "cut_off": cut_off})


@dataclass(frozen=True, slots=True)
class VendorConfig:
    """The part of a vendor's configuration that deciding needs."""

    name: str
    channel: str
    rate_per_s: float | None = None
    replicas_min: int = 1
    replicas_max: int = 4
    concurrency_max: int = 64
    min_calls: int = 20
    failure_rate: float = 50.0


@dataclass(frozen=True, slots=True)
class PlanConfig:
    vendors: Mapping[str, VendorConfig]
    chains: tuple[tuple[str, ...], ...]
    dwell_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class Override:
    """An operator's override: `open` (send nothing there) or `close` (send, whatever the breaker says).

    Under `close` the vendor's actors keep their breakers from opening: they go on counting and decide nothing.
    """

    vendor: str
    state: str
    who: str = ""
    why: str = ""
    until_ms: int | None = None

    def holds(self, now_ms: int) -> bool:
        return self.until_ms is None or self.until_ms > now_ms

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Override:
        return cls(**known(cls, data))


@dataclass(frozen=True, slots=True)
class VendorPlan:
    """One vendor's part of a plan: its state, the mailboxes that it drains, and whether new work may go to it.

    `prober` is the only incarnation that probes. `shares` gives each incarnation its part of the contract rate; None
    without one.
    """

    name: str
    state: str
    accepts_new: bool
    drains: tuple[str, ...]
    prober: str | None = None
    shares: Mapping[str, Share] | None = None
    replicas: int = 1
    override: str | None = None
    reason: str = ""
    switched_ms: int = 0
    unsteady: bool = False
    """When the vendor last began or ceased to get new work, and whether it comes and goes (`core.plan.dwell`)."""
    sized_ms: int = 0
    """When `replicas` last changed, wall milliseconds."""
    probe_within_s: float | None = None
    """The longest wait of its open breaker until the next try, in seconds; None: the breaker's own wait."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The assignment in force. `undrained` maps each mailbox without a drainer to its reason.

    `full` are the vendors whose pools would grow and find no free core. `unreached` are the vendors that make our own
    network suspect; empty when it is not. `office` is a random name of the supervisor's term: a store that was emptied
    or went back counts terms and epochs again, but never has the same name.
    """

    epoch: int = 0
    at_ms: int = 0
    vendors: Mapping[str, VendorPlan] = field(default_factory=dict)
    undrained: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    unreached: tuple[str, ...] = ()
    office: str = ""
    full: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    """The replicas that are to end, so that Serve starts them on another machine; see `core.plan.placement`."""

    def replaces(self, current: Plan, asked_with: Plan | None = None) -> bool:
        """Return True if this plan should replace `current`. A pushed plan wins only with a later epoch.

        `asked_with` is the plan that was in use when this one was read from the store; None if it was pushed. A plan
        that was read wins whatever its epoch, unless a push came in between: the store had `current` before, and has
        an earlier plan now, so it is not the store that it was.
        """
        if current is asked_with:
            return (self.office, self.epoch) != (current.office, current.epoch)
        return self.epoch > current.epoch or not current.vendors

    def accepts_new(self, vendor: str) -> bool:
        """Return True if new work may go to this vendor. Before the first plan it may go to every vendor."""
        if not self.vendors:
            return True
        entry = self.vendors.get(vendor)
        return entry is not None and entry.accepts_new

    def usable(self, vendor: str) -> bool:
        """Return True if a message that failed elsewhere may go here, also while new work bypasses it (`dwell`)."""
        if not self.vendors:
            return True
        entry = self.vendors.get(vendor)
        return entry is not None and entry.state == CLOSED

    def recovering(self, vendor: str) -> bool:
        """Return True if the vendor gets probes and growing shares of the work."""
        entry = self.vendors.get(vendor)
        return entry is not None and entry.state == HALF_OPEN

    def same_assignment(self, other: Plan) -> bool:
        return (self.vendors, self.undrained, self.unreached, self.full, self.leaving) == (
            *(other.vendors, other.undrained, other.unreached, other.full, other.leaving),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the stored and published form, whose names for two of the values are `held` and `takes_new`."""
        data = asdict(self)
        for entry in data["vendors"].values():
            entry["takes_new"] = entry.pop("accepts_new")
        return {("held" if name == "undrained" else name): value for name, value in data.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        vendors = {
            name: VendorPlan(
                **known(VendorPlan, {**entry, "accepts_new": entry["takes_new"], **_drains_and_shares(entry)})
            )
            for name, entry in data["vendors"].items()
        }
        unreached, full = tuple(data.get("unreached", ())), tuple(data.get("full", ()))
        reason, office = data.get("reason", ""), data.get("office", "")
        leaving = tuple(data.get("leaving", ()))
        return cls(data["epoch"], data["at_ms"], vendors, dict(data["held"]), reason, unreached, office, full, leaving)


def _drains_and_shares(data: Mapping[str, Any]) -> dict[str, Any]:
    shares = data.get("shares")
    found = None if shares is None else {name: Share(**known(Share, share)) for name, share in shares.items()}
    return {"drains": tuple(data["drains"]), "shares": found}


def number(value: object) -> float | None:
    """Return a measured value as a number; None if it is no number, so that it counts as not measured."""
    return float(value) if isinstance(value, (int, float)) else None


def known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` without what a later version added. So everybody still reads its plan after a roll-back."""
    return {name: data[name] for name in kind.__dataclass_fields__ if name in data}  # type: ignore[attr-defined]
