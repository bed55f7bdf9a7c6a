"""Judges a run by three logs: what the clients were answered, what the vendors received, what Redis holds at the end.

The words are Jepsen's:

- lost: acknowledged, but never received, and not kept in a place where an operator would find it;
- unexpected: received, but never posted;
- duplicated: received more than once;
- recovered: received, although its client never got a 202.

`contradictions` are states of the store that must never occur.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from cluster.rehearsal.load import Posted
from cluster.rehearsal.verdict import Verdict, judge
from dispatcher.adapters.redis.keys import Keys
from dispatcher.core.cells.names import CELL_NAMES
from dispatcher.core.life.notification import trigger_of

ENDS = ("settled", "cancelled", "suppressed")
RESTS = ("dead", "held", *ENDS)
PLACES = ("due", "delayed", "held", "dead")


@dataclass(slots=True)
class Findings:
    """The result of judging a run.

    `states` counts the notifications in each state. `reasons` counts why notifications are dead.
    """

    verdict: Verdict
    lost: list[str]
    contradictions: list[str]
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def duplicated(self) -> dict[str, int]:
        return self.verdict.duplicated

    def all_well(self) -> bool:
        """Return True if nothing was lost, repeated, misdirected or contradictory.

        A test that allows a repeat reads the single fields instead.
        """
        return self.verdict.clean and not self.lost and not self.contradictions

    def kept(self, policy: str, in_flight: int, repeats: int | None = None) -> bool:
        """Return True if the promise of `policy` was kept. `in_flight` is how many messages may have had an unknown
        outcome.

        Nothing may be lost, contradictory or misdirected. Under `resend`, at most `in_flight` messages (or `repeats`,
        if given) may be repeated. Under `hold`, no message may be repeated, and each must be settled or held, at most
        `in_flight` of them held.
        """
        verdict, states = self.verdict, self.states
        if self.lost or self.contradictions or verdict.unexpected or verdict.misdirected:
            return False
        if policy == "resend":
            return verdict.repeats <= (in_flight if repeats is None else repeats)
        ended = states["settled"] + states["held"] == verdict.expected
        return verdict.repeats == 0 and ended and states["held"] <= in_flight


def examine(
    posted: Sequence[Posted],
    received: Mapping[str, Sequence[Mapping[str, Any]]],
    channels: Mapping[str, str],
    *stores: redis.Redis,
) -> Findings:
    """Judge the run and return the findings.

    `received` maps each vendor to its deliveries. `channels` maps each vendor to its channel. `stores` are the Redis
    servers of all cells, in their order.
    """
    verdict = judge(posted, received, channels)
    records, contradictions = dict[str, dict[str, str]](), list[str]()
    for cell, store in zip(CELL_NAMES, stores, strict=False):
        in_cell, wrong = _looked_at(store, Keys(cell))
        records |= in_cell
        contradictions += wrong
    state_of = {name: state for name, (_, state, _) in _named(posted, records).items()}
    lost = [name for name in verdict.lost if state_of.get(name) not in ("dead", "held", "cancelled", "suppressed")]
    found = Findings(verdict, lost, contradictions)
    delivered = set(verdict.delivered_at)
    for name, (nid, state, reason) in _named(posted, records).items():
        found.states[state] += 1
        if state == "dead":
            found.reasons[reason.split(":")[0]] += 1
        if state == "settled" and name not in delivered:
            found.contradictions.append(f"{nid} ({name}) is settled, and no vendor received it")
    return found


def waiting(*stores: redis.Redis) -> int:
    """Return how many notifications the cells still have to work on. Dead, held and ended notifications are not
    counted.
    """
    return sum(_waiting(store, Keys(cell)) for cell, store in zip(CELL_NAMES, stores, strict=False))


def _waiting(store: redis.Redis, keys: Keys) -> int:
    lanes = list(store.scan_iter(match=keys.prefix + "mb:*", count=1000, _type="stream"))
    return sum(store.xlen(lane) for lane in lanes) + store.zcard(keys.due) + store.zcard(keys.delayed)


def _looked_at(store: redis.Redis, keys: Keys) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return all records, and a sentence for each notification whose record and place in the store contradict each
    other.

    A contradiction counts only if a second read, half a second later, finds it again. The records are not read in one
    moment, and a look-up may settle a notification meanwhile.
    """
    records = _records(store, keys)
    found = list(_contradictions(store, keys, records))
    if found:
        time.sleep(0.5)
        records = _records(store, keys)
        found = [one for one in _contradictions(store, keys, records) if one in found]
    return records, found


def _records(store: redis.Redis, keys: Keys) -> dict[str, dict[str, str]]:
    prefix = keys.record_prefix
    names = list(store.scan_iter(match=prefix + "*", count=1000))
    pipeline = store.pipeline(transaction=False)
    for name in names:
        pipeline.hgetall(name)
    return {name.removeprefix(prefix): record for name, record in zip(names, pipeline.execute(), strict=True)}


def _named(posted: Sequence[Posted], records: Mapping[str, dict[str, str]]) -> dict[str, tuple[str, str, str]]:
    """Return the id, the state and the reason of each notification of the acknowledged triggers.

    The key is `order/channel`: the order number that was posted and the notification's channel.
    """
    found = {}
    for post in posted:
        if post.trigger_id is None:
            continue
        record = records.get(post.trigger_id, {})
        for i, part in enumerate(json.loads(record["m"])["n"] if "m" in record else []):
            name = f"{post.key}/{part['c']}"
            found[name] = (f"{post.trigger_id}.{i}", record.get(f"{i}.st", ""), record.get(f"{i}.r", ""))
    return found


def _contradictions(store: redis.Redis, keys: Keys, records: Mapping[str, dict[str, str]]) -> Iterator[str]:
    """Yield a sentence for each notification that is not in exactly one place, or whose record names another place."""
    places: dict[str, list[str]] = {}
    for place in PLACES:
        for nid in store.zrange(getattr(keys, place), 0, -1):
            places.setdefault(nid, []).append(place)
    entries: dict[str, str] = {}
    mailboxes = store.smembers(keys.mailboxes)
    for stream in store.scan_iter(match=keys.prefix + "mb:*", count=1000, _type="stream"):
        if stream.removeprefix(keys.prefix + "mb:").partition(":")[0] in mailboxes:
            for entry_id, body in store.xrange(stream):
                places.setdefault(body["n"], []).append(stream)
                entries[body["n"]] = entry_id
    for nid in places:
        if trigger_of(nid) not in records:
            yield f"{nid} is in {places[nid]} and has no record"
    for trigger, record in records.items():
        for i in range(len(json.loads(record["m"])["n"])):
            nid, state = f"{trigger}.{i}", record[f"{i}.st"]
            here = places.get(nid, [])
            if state in ENDS and here:
                yield f"{nid} is {state} and still in {here}"
            elif state in PLACES and here != [state]:
                yield f"{nid} is {state} and in {here}"
            elif state in ("queued", "started") and (
                here != [record[f"{i}.lane"]] or entries[nid] != record[f"{i}.eid"]
            ):
                yield f"{nid} is {state} in {record[f'{i}.lane']} and in {here}"
