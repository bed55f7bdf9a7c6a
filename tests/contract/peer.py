"""Runs one version of this program on a Redis, as a process that answers one question a line: `python peer.py URL`.

A question is `[name, {argument: value}]`. Its answer is one JSON value, or `{"error": text}`. The frozen code of the
previous version has a copy of this file beside it, and that copy runs the previous code. The copy may differ from this
file, but the names, arguments and answers of its questions must be the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from dispatcher.adapters.redis.control import RedisControl
from dispatcher.adapters.redis.script_calls import client
from dispatcher.adapters.redis.store import RedisStore
from dispatcher.adapters.redis.templates import RedisTemplateStore
from dispatcher.adapters.redis.views import RedisViews
from dispatcher.core.accepting.caps import Cap
from dispatcher.core.life.dead_letter import DeadLetterFilter
from dispatcher.core.life.decide import Dead, Hold, Move, Retry, Settle
from dispatcher.core.life.notification import (
    Attempt,
    Claim,
    Follows,
    Lane,
    NewNotification,
    NewTrigger,
    Person,
    Trail,
    trigger_of,
)
from dispatcher.core.life.sms_text import SmsSize
from dispatcher.core.limits.accept_rate import AcceptRate
from dispatcher.core.plan.sharing import Share
from dispatcher.core.plan.values import Beat, Override, Plan, Report, VendorPlan
from dispatcher.ports import Redriven
from dispatcher.templates.source import TemplateSource

try:
    from dispatcher.core.life.notification import TemplatePin
except ImportError:  # a version from before digests
    TemplatePin = None  # type: ignore[assignment,misc]

DAY_MS = 86_400_000
RETENTION_MS = 60_000
LANES = ("high", "normal", "bulk")
CHAIN = ("a", "b", "c")


class Peer:
    """One version of the service on a Redis, in a process of its own. It carries out the steps that a test asks for by
    name.

    Each step has a method of the same name.
    """

    def __init__(self, url: str) -> None:
        self._redis = client(url)
        self._store = RedisStore(self._redis, retention_ms=RETENTION_MS)
        self._control = RedisControl(self._redis)
        self._views = RedisViews(self._redis, retention_ms=RETENTION_MS)
        self._templates = RedisTemplateStore(self._redis)
        self._claims: dict[str, Claim] = {}
        self._heard: asyncio.Task[list[Any]] | None = None

    async def close(self) -> None:
        await self._redis.aclose()

    # ---- accept

    async def accept(self, id: str, kind: str, key: str | None = None, tenant: str = "shop") -> str:
        """Accept a trigger of this `kind` (see `notifications`) and return the name of the result."""
        now_ms = time.time_ns() // 1_000_000
        changes: dict[str, Any] = {}
        if kind == "several":
            changes["people"] = (Person("c1", "de-DE"), Person("c2", None))
        else:
            changes.update(recipient_id="c1", locale="de-DE")
        if kind == "delayed":
            changes["send_at_ms"] = now_ms + 1
        if kind == "rated":
            changes["rate"] = AcceptRate(1000.0, 10)
        found = await self._store.accept(
            [
                NewTrigger(
                    id=id,
                    tenant=tenant,
                    event="checkout.completed",
                    body_hash="h1",
                    accepted_ms=now_ms,
                    expires_ms=now_ms + DAY_MS,
                    priority="high" if kind == "rated" else "normal",
                    on_unknown="hold" if kind == "hold" else "resend",
                    data={"order": "N1", "name": "Ädä"},
                    notifications=notifications(kind, now_ms),
                    idempotency_key=key,
                    **changes,
                )
            ]
        )
        return str(found[0].result.name)

    # ---- deliver

    async def register(self, vendor: str) -> str:
        return await self._control.register(vendor, 7, "node 1")

    async def claim(self, me: str, vendor: str) -> list[dict[str, Any]]:
        found = await self._store.claim(me, [Lane(vendor, lane) for lane in LANES], 10)
        return self._told(found)

    async def take(self, me: str, vendor: str) -> list[dict[str, Any]]:
        return self._told(await self._store.take(me, [Lane(vendor, lane) for lane in LANES]))

    async def own(self, me: str, vendor: str) -> list[dict[str, Any]]:
        return self._told(await self._store.own(me, [Lane(vendor, lane) for lane in LANES], ()))

    def _told(self, found: Any) -> list[dict[str, Any]]:
        self._claims.update({claim.notification.id: claim for claim in found.claims})
        rows = [told(claim) for claim in found.claims]
        rows += [{"id": claim.notification.id, "unreadable": True} for claim in found.unreadable]
        return sorted([*rows, *({"id": it.notification_id, "orphan": True} for it in found.orphans)], key=str)

    async def start(self, me: str, id: str) -> bool:
        return await self._store.start(me, self._claims[id])

    async def apply(self, me: str, id: str, what: str) -> str:
        claim = self._claims[id]
        attempt = Attempt(1_700_000_000_000, "a", what, what, 12, "v-1")
        count = claim.notification.attempts + 1
        trail = Trail(("a",), ("a",), ("a",), 1, 2)
        decision: Any = {
            "settle": Settle(attempt, count),
            "dead": Dead("expired", attempt, count),
            "move": Move("b", trail, attempt, count, 3),
            "retry": Retry(1, trail, attempt, count),
            "hold": Hold(60_000, attempt, count),
        }[what]
        now_ms = time.time_ns() // 1_000_000
        (found,) = await self._store.apply(me, [(claim, decision)], now_ms)
        return str(found.name)

    async def withdraw(self, id: str, to: str) -> str:
        found = await self._store.withdraw(id, to, to)
        return str(found.result.name)

    async def promote(self) -> list[str]:
        """Move every notification whose time has come to the mailbox `a`, and begin waiting fallbacks.

        Return the id of each moved notification, with the result of its move.
        """
        await asyncio.sleep(0.01)
        found = await self._store.due()
        fallbacks = [entry for entry in found.entries if entry.stands_by]
        if fallbacks:
            await self._store.begin(fallbacks)
        ripe = [entry for entry in found.entries if not entry.stands_by and entry.readable]
        done = await self._store.promote([(entry, "a") for entry in ripe])
        return sorted(f"{entry.id} {it.name}" for entry, it in zip(ripe, done, strict=True))

    async def bury(self, names: list[str]) -> list[str]:
        term, _ = await self._control.begin_term()
        live = await self._control.live()
        return await self._control.bury({name: live[name].renewed for name in names}, term)

    async def renew(self, name: str) -> bool:
        return await self._control.renew(name)

    async def live(self) -> dict[str, list[Any]]:
        return {name: [it.renewed, it.pid, it.node] for name, it in sorted((await self._control.live()).items())}

    async def counts(self) -> dict[str, Any]:
        depths = await self._control.depths()
        boxes = {name: [depth.queued, depth.claimed] for name, depth in sorted(depths.items())}
        return {"mailboxes": boxes, **await self._control.counts()}

    # ---- look and operate

    async def show(self, id: str) -> dict[str, Any] | None:
        found = await self._views.trigger(id)
        if found is None:
            return None
        rows = [
            {
                "state": one.state,
                "vendor": one.vendor,
                "reason": one.reason,
                "generation": one.generation,
                "template": [one.template, one.template_version],
                "attempts": [[it.vendor, it.outcome, it.reason, it.vendor_message_id] for it in one.attempts],
                "recipient": [one.recipient, one.recipient_id],
                "fallback_for": one.fallback_for,
                "waits": one.until_ms is not None,
                "sms": None if one.sms is None else [one.sms.encoding, one.sms.segments],
            }
            for one in found.notifications
        ]
        return {"tenant": found.tenant, "key": found.idempotency_key, "notifications": rows}

    async def redrive(self, id: str, chain: list[str] | None = None, template: list[Any] | None = None) -> int:
        """Redrive the dead letter `id` and return how many letters were redriven.

        `chain` and `template` replace what was accepted. `template` has a version, a digest and a name. A version of
        the program that knows no digests ignores the digest.
        """
        page = await self._views.dead_page(DeadLetterFilter(ids=(id,)), None, 10_000)
        now_ms = time.time_ns() // 1_000_000
        pin: Any = None
        if template is not None:
            version, digest, name = template
            pin = (name, version) if TemplatePin is None else TemplatePin(name, version, digest)
        chosen = [
            Redriven(letter, "a", "normal", now_ms + DAY_MS, None if chain is None else tuple(chain), pin)
            for letter in page.letters
        ]
        return await self._views.redrive(chosen)

    async def held(self, id: str) -> list[Any]:
        return [[it.notification.id, it.vendor] for it in await self._store.held([id])]

    # ---- the supervisor's

    async def plan(self) -> dict[str, Any] | None:
        found = await self._control.plan()
        return None if found is None else planned(found)

    async def publish(self, epoch: int) -> dict[str, Any]:
        term, _ = await self._control.begin_term()
        shares = {"a/1": Share(7.5, 12.5)}
        vendors = {
            "a": VendorPlan("a", "closed", True, ("a", "b"), None, shares, 2, None, ""),
            "b": VendorPlan("b", "half_open", False, ("b",), "b/7", None, 1, "open", "Störung"),
        }
        made = Plan(
            *(epoch, 5, vendors, {"c": "removed"}, "why", ("b",), "supervisor/1", ("a",), ("r1",)),
            unmanned={"c": "no_cpu"},
        )
        await self._control.publish(made, term)
        return planned(made)

    async def remember(self, vendor: str, breaker: dict[str, Any]) -> None:
        await self._control.remember(vendor, breaker)

    async def recall(self, vendor: str) -> Any:
        found = await self._control.recall(vendor)
        return None if found is None else found[0]

    async def override(self, vendor: str, state: str) -> None:
        await self._control.set_override(vendor, Override(vendor, state, "me", "why", 2_000_000_000_000))

    async def overrides(self) -> dict[str, Any]:
        return {name: [it.state, it.who, it.why, it.until_ms] for name, it in (await self._control.overrides()).items()}

    async def listen(self) -> None:
        """Begin to receive beats and reports. The step `heard` returns the first two that came."""
        stream = self._control.listen(("beat", "report"))
        await stream.__anext__()  # it is subscribed when the first quiet half second is over

        async def two() -> list[Any]:
            heard: list[Any] = []
            async for found in stream:
                message = getattr(found, "body", found)
                if message is not None:
                    heard.append(message)
                if len(heard) == 2:
                    await stream.aclose()
                    return heard
            return heard

        self._heard = asyncio.create_task(two())

    async def heard(self) -> list[Any]:
        assert self._heard is not None, "`listen` comes first"
        return [reported(it) for it in await asyncio.wait_for(self._heard, 30.0)]

    async def tell(self) -> None:
        await self._control.beat(Beat("a/1", "a", "r1", 7, "n1"))
        report = Report(
            "a/1", "a", "open", 1.5, 4, {"n": 10, "failed": 6}, epoch=9, office="supervisor/1", replica="r1"
        )
        await self._control.report(report if TemplatePin is not None else report.to_dict())  # type: ignore[arg-type]

    # ---- templates

    async def put_template(self, name: str, text: str, by_file: bool = False) -> int:
        return await self._templates.put(TemplateSource.from_dict({"name": name, "text": text}), by_file=by_file)

    async def template(self, name: str, version: int) -> Any:
        found = await self._templates.get(name, version)
        return None if found is None else {"name": found.name, "version": found.version, "text": found.text}

    async def delete_template(self, name: str) -> bool:
        return await self._templates.delete(name)

    async def latest(self) -> dict[str, int]:
        return await self._templates.latest()


def notifications(kind: str, now_ms: int) -> tuple[NewNotification, ...]:
    """Return the notifications of a trigger of this `kind`. Only the kind `pinned` names the digest of its text."""
    sms = NewNotification("sms", "+491511", CHAIN, "a", "receipt", 3, sms=SmsSize("gsm7", 2))
    mail = NewNotification("email", "a@example.com", ("m",), "m", content={"subject": "Hi", "text": "Ä"})
    if kind == "several":
        other = NewNotification("sms", "+491512", CHAIN, "a", "receipt", 3, sms=SmsSize("gsm7", 2), person=1)
        return (sms, other)
    if kind == "fallback":
        tie = Follows(0, "accepted", now_ms + DAY_MS // 2, DAY_MS)
        second = NewNotification(
            *("email", "a@example.com", ("m",), "m"),
            content={"subject": "Hi", "text": "Ä"},
            expires_ms=now_ms + 2 * DAY_MS,
            send_at_ms=now_ms + DAY_MS // 2,
            follows=tie,
        )
        return (sms, second)
    if kind == "pinned":  # of a version that knows digests: the text is `one`
        text = TemplateSource.from_dict({"name": "receipt", "text": "one"})
        return (NewNotification("sms", "+491511", CHAIN, "a", "receipt", 1, text.digest),)
    if kind == "capped":
        capped = NewNotification("sms", "+491511", CHAIN, "a", "receipt", 3, caps=(Cap("k1", 1, 60_000),))
        return (capped,)
    return (sms, mail) if kind == "two" else (sms,)


def told(claim: Claim) -> dict[str, Any]:
    """Return the fields of a claimed notification that both versions must read in the same way."""
    n = claim.notification
    pin = [n.template, n.template_version]
    trail = [list(n.trail.tried), list(n.trail.refused), list(n.trail.doubted), n.trail.waits, n.trail.refusals]
    return {
        "id": n.id,
        "channel": n.channel,
        "to": n.to,
        "chain": list(n.chain),
        "data": dict(n.data),
        "content": None if n.content is None else dict(n.content),
        "pin": pin,
        "digest": getattr(n, "template_digest", None),
        "locale": n.locale,
        "attempts": n.attempts,
        "generation": n.generation,
        "crashes": n.crashes,
        "trail": trail,
        "moved_epoch": n.moved_epoch,
        "state": n.state.value,
        "lane": [claim.lane.mailbox, claim.lane.priority],
        "trigger": trigger_of(n.id),
    }


def planned(plan: Plan) -> dict[str, Any]:
    """Return the fields of a plan that both versions must read in the same way."""
    vendors = {
        name: [
            *(one.state, one.accepts_new, list(one.drains), one.prober, one.replicas, one.override, one.reason),
            None
            if one.shares is None
            else {who: list(map(float, vars_of(share))) for who, share in one.shares.items()},
        ]
        for name, one in plan.vendors.items()
    }
    return {
        "epoch": plan.epoch,
        "vendors": vendors,
        "undrained": dict(plan.undrained),
        "why": [plan.reason, list(plan.unreached), plan.office, list(plan.full), list(plan.leaving)],
    }


def vars_of(share: Share) -> list[float]:
    return [getattr(share, name) for name in Share.__dataclass_fields__]


def reported(message: Any) -> dict[str, Any]:
    """Return the fields of a beat or a report that both versions must read in the same way."""
    found = message if isinstance(message, dict) else message.to_dict()
    names = ("incarnation", "vendor", "replica", "breaker", "retry_after_s", "attempts", "window", "epoch", "office")
    return {name: found[name] for name in names if name in found}


async def serve(url: str) -> None:
    """Answer the questions on standard input until it ends."""
    peer = Peer(url)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, arguments = json.loads(line)
        try:
            answer = await getattr(peer, name)(**arguments)
        except Exception as error:  # whoever asked is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
