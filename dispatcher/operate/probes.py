"""The answers to probes: whether this replica is alive and ready, and what the metrics are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

from dispatcher.accept.intake import Intake
from dispatcher.accept.store_watch import StoreBreaks, StoreWatch
from dispatcher.core.json_object import JsonObject
from dispatcher.core.plan.identity import Identity
from dispatcher.core.plan.stall import working_vendors
from dispatcher.core.plan.unmanned import sentences
from dispatcher.core.plan.values import Snapshot
from dispatcher.core.store.replication import Standing
from dispatcher.operate.fleet import Fleet
from dispatcher.operate.gauges import Reading, gauges
from dispatcher.operate.listener_certificate import ListenerCertificate
from dispatcher.operate.stalls import Stalls
from dispatcher.ports import Control, Vitals
from dispatcher.telemetry.metrics import render

LOG_FAULTS = {
    "rewrite": "redis failed at the last rewrite of its append-only file, which grows until one succeeds",
    "write": "redis failed at the last write of its append-only file: nothing is accepted until one succeeds",
}


@dataclass(frozen=True, slots=True)
class Replica:
    """How this replica runs.

    Attributes:
        identity: replica, process, node, ingress and niceness, as /healthz shows them.
        warnings: what was found wrong at the start.
        installation: a text that is different for each installation.
        https: True if the configuration has a certificate.
    """

    version: str
    identity: Identity = field(default_factory=Identity)
    warnings: tuple[str, ...] = ()
    installation: str = ""
    https: bool = False


class Replicas(Protocol):
    """Knows how many replicas of the store had the last write on disk (`standing`)."""

    standing: Standing


@dataclass(frozen=True, slots=True)
class Watches:
    """The parts of an intake replica that watch in the background. The answers of /healthz and /readyz show what they
    have found.
    """

    store: StoreWatch
    breaks: StoreBreaks
    fleet: Fleet
    stalls: Stalls
    replicas: Replicas | None = None


class Probes:
    """Answers /healthz, /readyz and /metrics from what background checks (`Watches`) found last.

    Only `metrics_text` asks the store.
    """

    def __init__(
        self,
        intake: Intake,
        watches: Watches,
        control: Control,
        vitals: Vitals,
        *,
        channels: Mapping[str, str],
        replica: Replica,
    ) -> None:
        """Prepare the answers. `channels` gives the channel of each configured vendor."""
        self._intake, self._control, self._vitals = intake, control, vitals
        self._watches, self._channels, self.replica = watches, channels, replica
        self._wall_ms = intake.time.now_ms

    def not_ready(self) -> str | None:
        """Return None if a trigger that is posted now would become durable, and otherwise the reason why not."""
        if not self._intake.started:
            return "templates are not loaded yet"
        if not self._watches.store.answers:
            return "the store does not answer"
        if self._intake.nearly_full:
            return "the store is nearly full"
        standing = self._standing()
        return standing.warnings()[0] if standing is not None and standing.fails else None

    def _standing(self) -> Standing | None:
        replicas = self._watches.replicas
        return None if replicas is None else replicas.standing

    def health(self, certificate: ListenerCertificate | None = None) -> JsonObject:
        """Return the body of /healthz: how this replica runs, and every warning for operators.

        `certificate` is what HAProxy says about the machine that was asked.
        """
        plan, stalled, identity = self._intake.plan, self._watches.stalls.now, self.replica.identity
        idle = sorted(name for name, count in working_vendors(plan, self._channels).items() if not count)
        warnings = [*self.replica.warnings, *self._watches.breaks.warnings]
        if identity.get("ingress") != "haproxy":
            warnings.append("ingress is Serve's Python proxy: about 10 ms slower than HAProxy")
        if plan.full:
            warnings.append(f"machine full: no free core for more actors of {', '.join(plan.full)}")
        if identity.get("niceness", 0) > 0:
            warnings.append(f"replicas run at nice {identity['niceness']}")
        warnings += [LOG_FAULTS[fault] for fault in self._watches.store.log_faults]
        standing = self._standing()
        warnings += standing.warnings() if standing is not None else []
        warnings += self._certificate_warnings(certificate)
        warnings += sentences(plan.unmanned)
        warnings += map(str, stalled)
        warnings += [f"no vendor is left for {channel}: what is accepted for it waits" for channel in idle]
        return {
            "status": "alive",
            "version": self.replica.version,
            **identity,
            "warnings": warnings,
            "stalled": [asdict(stall) for stall in stalled],
            "channels_without_vendor": idle,
        }

    def _certificate_warnings(self, certificate: ListenerCertificate | None) -> Iterator[str]:
        if certificate is not None:
            yield from certificate.warnings(self._wall_ms())
        elif self.replica.https:
            yield "the configuration has a certificate (tls), but HAProxy on this machine has none; prepare the node"

    async def metrics_text(self, certificate: ListenerCertificate | None = None) -> bytes:
        """Return the Prometheus text of the whole service, and of the certificate. Raises UnavailableError."""
        return render(self.totals(), gauges(await self.reading(certificate)))

    def totals(self) -> Snapshot:
        """Return the latest sum of the counters and histograms of all processes."""
        return self._watches.fleet.totals

    async def reading(self, certificate: ListenerCertificate | None = None) -> Reading:
        """Return a new reading of everything that the gauges show. Raises UnavailableError."""
        depths = await self._control.depths()
        return Reading(
            depths=depths,
            backlog=await self._control.backlog(depths),
            counts=await self._control.counts(),
            memory=await self._vitals.memory(),
            log_faults=await self._vitals.log_faults(),
            plan=self._intake.plan,
            channels=self._channels,
            stalled_s={name: self._watches.stalls.seconds(name) for name in self._channels},
            replicas=self._standing(),
            certificate=certificate,
            now_ms=self._wall_ms(),
            reports=tuple(heard.report for heard in self._watches.fleet.heard()),
        )
