"""The values that the supervisor receives, knows and publishes: beats, reports, overrides and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypedDict, TypeVar

from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.sharing import Share

CLOSED, HALF_OPEN, OPEN, FORCED_OPEN, ABSENT = "closed", "half_open", "open", "forced_open", "absent"
QUARANTINED = "quarantined"

Made = TypeVar("Made")


class Snapshot(TypedDict):
    """A process's metrics since its start.

    A counter is [name, labels, value]. A histogram is [name, labels, row]. Its `row` has a count for each bucket, and
    then the sum in seconds.
    """

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

    def to_dict(self) -> JsonObject:
        """Return the beat in the form in which it is published."""
        return fields_of(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Beat:
        """Return the beat that was published as `data`. Fields that a newer version added are ignored."""
        return read(cls, {"replica": "", "pid": 0, "node": "", **data})


@dataclass(frozen=True, slots=True)
class CountryCutOff:
    """A country to which a vendor does not deliver at present, because the breaker of this country is not closed.

    `state` is the state of that breaker, and `for_s` is for how many seconds it has not been closed.
    """

    state: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """The report of one vendor actor about itself.

    A report is sent twice a second by default, and at once when the actor's breaker changes.
    """

    incarnation: str
    vendor: str
    breaker: str
    retry_after_s: float = 0.0
    attempts: int = 0
    window: Mapping[str, int] = field(default_factory=dict)
    evidence: Mapping[str, int] | None = None  # the part of `window` that counts against the vendor; None: all of it
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
    """By other vendor: how many of its unlisted refusals this vendor contradicted in the last window, by accepting."""
    unreached: int = 0
    """How many calls in a row have failed before the vendor was reached (DNS, connect, TLS)."""
    epoch: int = 0
    office: str = ""
    """The plan that the actor works by: its epoch, and the random name of its supervisor's term."""
    cpu: float | None = None
    """The cores that the actor's process used in the last second; None if not measured."""
    waiting: float = 0.0
    """For how many seconds of each second the process was ready to run and had no core."""
    free_cores: float | None = None
    """The cores of its node that were free in the last seconds; None if not measured."""
    process: str = ""
    """The name of this run of the process, under which its metrics are counted."""
    metrics: Snapshot | None = field(default=None, compare=False, repr=False)
    cells: int = 1
    """How many cells the actor drains (`core.cells`)."""

    def to_dict(self) -> JsonObject:
        """Return the report in the form in which it is published. A single cell is left out.

        The values in the result are not copies, because the caller writes the result as JSON at once.
        """
        told = fields_of(self)
        told["cut_off"] = {name: fields_of(found) for name, found in self.cut_off.items()}
        if self.metrics is None:
            del told["metrics"]
        if self.cells == 1:
            del told["cells"]
        return told

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Return the report that was published as `data`. Fields that a newer version added are ignored."""
        cut_off = {name: read(CountryCutOff, found) for name, found in (data.get("cut_off") or {}).items()}
        return read(cls, {**data, "free_cores": number(data.get("free_cores")), "cut_off": cut_off})


@dataclass(frozen=True, slots=True)
class VendorConfig:
    """The part of a vendor's configuration that the plan's decisions need."""

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
    """An operator's override of a vendor: `open` (send nothing there) or `close` (send, whatever the breaker says).

    Under `close` the breakers of the vendor's actors cannot open. These breakers go on counting, but decide nothing.
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
        return read(cls, data)


@dataclass(frozen=True, slots=True)
class VendorPlan:
    """One vendor's part of a plan: its state, the mailboxes that it drains, and whether new work may go to it.

    `prober` is the only incarnation that probes. `shares` gives each incarnation its part of the contract rate, or is
    None if there is no contract rate.
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
    """The vendor fails and recovers again and again.

    `switched_ms` is when its new work was last switched (`core.plan.dwell`).
    """
    sized_ms: int = 0
    """When `replicas` last changed, in wall milliseconds."""
    account_refused: bool = False
    """Receipts say that the vendor refuses our account (`core.breaker.refusals`)."""
    countries_refused: tuple[str, ...] = ()
    """The countries that the vendor does not reach by what its receipts say."""
    probe_within_s: float | None = None
    """The longest wait in seconds of its open breaker before the next probe. None means the breaker's own wait."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The assignment that the supervisor has published.

    `undrained` gives the reason for each mailbox without a drainer. `full` names the vendors whose pools would grow but
    find no free core. `unreached` names the vendors that make our own network suspect; it is empty if the network is
    not suspect. `office` is a random name for the supervisor's term, the time in which it may publish plans. If the
    store is emptied or replaced by an older copy, the numbers of terms and epochs may be used a second time. The same
    `office` is never used a second time.
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
    """The replicas that should end, so that Serve starts them on another machine (`core.plan.placement`)."""
    unmanned: Mapping[str, str] = field(default_factory=dict)
    """The vendors that have been without an actor for too long, each with the reason (`core.plan.unmanned`)."""

    def replaces(self, current: Plan, asked_with: Plan | None = None) -> bool:
        """Return True if this plan should replace `current`.

        If `asked_with` is None, this plan was published to this process. It then wins only with a higher epoch.
        Otherwise this plan was read from the store, and `asked_with` is the plan that was in use when the store was
        asked. If `current` is still that plan, the plan from the store wins whatever its epoch. A lower epoch then
        means that the store has lost its data or was replaced.
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
        """Return True if a message that failed elsewhere may go to this vendor.

        The result is also True while an unsteady vendor gets no new work (`dwell`).
        """
        if not self.vendors:
            return True
        entry = self.vendors.get(vendor)
        return entry is not None and entry.state == CLOSED

    def recovering(self, vendor: str) -> bool:
        """Return True if the vendor is recovering: it gets probes and growing shares of the work."""
        entry = self.vendors.get(vendor)
        return entry is not None and entry.state == HALF_OPEN

    def same_assignment(self, other: Plan) -> bool:
        return (self.vendors, self.undrained, self.unreached, self.full, self.leaving, self.unmanned) == (
            *(other.vendors, other.undrained, other.unreached, other.full, other.leaving, other.unmanned),
        )

    def to_dict(self) -> JsonObject:
        """Return the stored and published form.

        In it `undrained` is called `held`, and `accepts_new` is called `takes_new`.
        """
        data = asdict(self)
        for entry in data["vendors"].values():
            entry["takes_new"] = entry.pop("accepts_new")
        return {("held" if name == "undrained" else name): value for name, value in data.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        vendors = {
            name: read(VendorPlan, {**entry, "accepts_new": entry["takes_new"], **_drains_and_shares(entry)})
            for name, entry in data["vendors"].items()
        }
        unreached, full = tuple(data.get("unreached", ())), tuple(data.get("full", ()))
        reason, office = data.get("reason", ""), data.get("office", "")
        leaving, unmanned = tuple(data.get("leaving", ())), dict(data.get("unmanned", {}))
        made = cls(data["epoch"], data["at_ms"], vendors, dict(data["held"]), reason, unreached, office, full, leaving)
        return replace(made, unmanned=unmanned)


def _drains_and_shares(data: Mapping[str, Any]) -> JsonObject:
    shares = data.get("shares")
    found = None if shares is None else {name: read(Share, share) for name, share in shares.items()}
    countries = tuple(data.get("countries_refused", ()))
    return {"drains": tuple(data["drains"]), "shares": found, "countries_refused": countries}


def fields_of(value: Beat | Report | CountryCutOff) -> JsonObject:
    """Return the fields of `value` by name.

    Nothing inside the fields is copied. `dataclasses.asdict` would copy everything, which takes ten times as long, and
    beats and reports are written several times a second.
    """
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def number(value: object) -> float | None:
    """Return a measured value as a number. Return None if it is no number, so that it counts as not measured."""
    return float(value) if isinstance(value, (int, float)) else None


def read(kind: type[Made], data: Mapping[str, Any]) -> Made:
    """Return an instance of the dataclass `kind` with the values of `data`.

    Fields that a later version added are left out. So every process can still read stored and published values after a
    roll-back.
    """
    return kind(**{name: data[name] for name in kind.__dataclass_fields__ if name in data})  # type: ignore[attr-defined]
