"""Judge a run by what the sandbox vendors really received, not by what we say we sent.

lost: acknowledged with 202 and never received; duplicated: received more than once; unexpected: received and never
posted; misdirected: received by somebody else. Matching is by the order number in the message's text, on each channel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.rehearsal.load import Posted

ADDRESS = {"sms": "phone", "email": "email"}
"""The recipient's field that holds the address, per channel."""

ORDER = re.compile(r"order (N\d{6,}[a-z]*)")


@dataclass(slots=True)
class Verdict:
    """Counts of one run; ids in `lost` and `duplicated` are `order/channel`."""

    accepted: int = 0
    unacknowledged: int = 0
    expected: int = 0
    delivered: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: dict[str, int] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    misdirected: list[str] = field(default_factory=list)
    recovered: int = 0
    by_vendor: dict[str, int] = field(default_factory=dict)
    delivery_s: list[float] = field(default_factory=list)
    delivered_at: dict[str, float] = field(default_factory=dict)
    copies: dict[str, list[tuple[float, str]]] = field(default_factory=dict)  # of what is duplicated: when, by whom

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.unexpected or self.misdirected)

    @property
    def repeats(self) -> int:
        return sum(self.duplicated.values())


def judge(
    posted: Iterable[Posted], received: Mapping[str, Iterable[Mapping[str, Any]]], channels: Mapping[str, str]
) -> Verdict:
    """`received`: vendor → its deliveries; `channels`: vendor → channel, of the channels each trigger means."""
    verdict = Verdict()
    copies: dict[str, list[tuple[float, str]]] = {}
    sent_to: dict[str, set[str]] = {}
    for vendor, deliveries in received.items():
        count = 0
        for delivery in deliveries:
            match = ORDER.search(delivery["text"])
            if match is None:
                continue
            name = f"{match.group(1)}/{channels[vendor]}"
            copies.setdefault(name, []).append((delivery["t"], vendor))
            sent_to.setdefault(name, set()).add(_plain(delivery["to"]))
            count += 1
        verdict.by_vendor[vendor] = count
    first = {name: min(times)[0] for name, times in copies.items()}
    known: set[str] = set()
    for post in posted:
        names = [f"{post.key}/{channel}" for channel in sorted(set(channels.values()))]
        known.update(names)
        if post.accepted_s is None:
            verdict.unacknowledged += 1
            verdict.recovered += any(name in copies for name in names)
            continue
        verdict.accepted += 1
        verdict.expected += len(names)
        for name in names:
            if name in copies:
                verdict.delivered += 1
                verdict.delivery_s.append(first[name] - post.due_s)
                verdict.delivered_at[name] = first[name]
                wanted = post.recipient.get(ADDRESS[name.rpartition("/")[2]])
                if wanted is not None and sent_to[name] != {_plain(wanted)}:
                    verdict.misdirected.append(name)
            else:
                verdict.lost.append(name)
    verdict.copies = {name: sorted(times) for name, times in copies.items() if len(times) > 1}
    verdict.duplicated = {name: len(times) - 1 for name, times in verdict.copies.items()}
    verdict.unexpected = sorted(set(copies) - known)
    return verdict


def _plain(address: str) -> str:
    """Providers differ in how they write a number; domains and local parts of ours are lower case."""
    return address.strip("<> ").lstrip("+").lower()
