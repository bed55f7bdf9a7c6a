"""Judges a run by what the sandbox vendors received, not by what our service says that it sent.

A notification counts as:

- lost, if it was acknowledged with 202 and never received;
- duplicated, if it was received more than once;
- unexpected, if it was received but never posted;
- misdirected, if it was received for another recipient.

A message is matched with its trigger by the order number in its text, for each channel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.rehearsal.load import Posted

ADDRESS = {"sms": "phone", "email": "email"}
"""For each channel, the field of the recipient that holds the address."""

ORDER = re.compile(r"order (N\d{6,}[a-z]*)")


@dataclass(slots=True)
class Verdict:
    """The counts of one run. The names in `lost`, `duplicated` and the other collections have the form
    `order/channel`.
    """

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
    copies: dict[str, list[tuple[float, str]]] = field(default_factory=dict)  # time and vendor of each duplicated copy

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.unexpected or self.misdirected)

    @property
    def repeats(self) -> int:
        return sum(self.duplicated.values())


def judge(
    posted: Iterable[Posted], received: Mapping[str, Iterable[Mapping[str, Any]]], channels: Mapping[str, str]
) -> Verdict:
    """Compare the posted triggers with the vendors' deliveries and return the verdict.

    `received` maps each vendor to its deliveries. `channels` maps each vendor to its channel. Each trigger is expected
    to be delivered once on each of these channels.
    """
    verdict = Verdict()
    copies, sent_to = _read_deliveries(received, channels, verdict.by_vendor)
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


def _read_deliveries(
    received: Mapping[str, Iterable[Mapping[str, Any]]], channels: Mapping[str, str], by_vendor: dict[str, int]
) -> tuple[dict[str, list[tuple[float, str]]], dict[str, set[str]]]:
    """Return what arrived, by notification: when and by which vendor each copy was delivered, and to which addresses.

    `channels` has the channel of each vendor. A delivery whose text contains no order number is left out. For each
    vendor, the number of the other deliveries is written into `by_vendor`.
    """
    copies: dict[str, list[tuple[float, str]]] = {}
    sent_to: dict[str, set[str]] = {}
    for vendor, deliveries in received.items():
        by_vendor[vendor] = 0
        for delivery in deliveries:
            match = ORDER.search(delivery["text"])
            if match is None:
                continue
            name = f"{match.group(1)}/{channels[vendor]}"
            copies.setdefault(name, []).append((delivery["t"], vendor))
            sent_to.setdefault(name, set()).add(_plain(delivery["to"]))
            by_vendor[vendor] += 1
    return copies, sent_to


def _plain(address: str) -> str:
    """Return the address in one spelling: without brackets and a leading +, in lower case.

    Providers spell telephone numbers in different ways. Our test addresses have no upper case.
    """
    return address.strip("<> ").lstrip("+").lower()
