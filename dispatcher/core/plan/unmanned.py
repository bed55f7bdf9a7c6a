"""Finds the vendors that have been without an actor for too long, and says why.

Rules:

1. A vendor without an actor is usually starting, so at first nothing follows from it. A start takes seconds, and on a
   busy machine half a minute.
2. After `NO_CPU_S` the vendor is unmanned if no machine has enough CPU free for an actor. Time alone decides here, too:
   an actor that is starting has its CPU reserved already, so a cluster that just fits is full during every start.
3. After `NO_START_S` the vendor is unmanned whatever the cause, for example an actor that ends in its constructor.
4. An unmanned vendor stays unmanned until it has an actor. Only the reason may change. While Ray does not tell its free
   CPUs, the reason stays.

An unmanned vendor is `absent` in the plan (`decide`), so another vendor of its chain gets its work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

NO_CPU_S = 30.0
"""The time in seconds without an actor after which a lack of free CPUs counts.

A trigger that waits for such a vendor goes elsewhere before its delivery would be called stalled (`stall.PATIENCE_S`).
"""

NO_START_S = 60.0
"""The time in seconds without an actor after which no start is expected any more."""

LOOK_S_MAX = 2.0
"""The most seconds that count between two looks. A longer gap was an outage of the store or a frozen process."""

NO_CPU, NO_START = "no_cpu", "no_start"

SENTENCES: Mapping[str, str] = {
    NO_CPU: "no actor runs, and no machine of Ray has enough CPU free for one; see `ray status`",
    NO_START: "no actor has started; Ray's logs say why",
}


class Vacancies:
    """Knows which vendors had an actor since this process began, and for how long each vendor has had none.

    Only time in which somebody looked counts, because nobody knows whether there was an actor in a gap.
    """

    def __init__(self, vendors: Collection[str]) -> None:
        """Prepare for the configured vendors. Each counts as without an actor from the first look on."""
        self._vendors = frozenset(vendors)
        self._known: set[str] = set()
        self._looked_s: float | None = None
        self._without_s: dict[str, float] = {}

    def look(self, manned: Iterable[str], now_s: float) -> None:
        """Note that `manned` are the vendors with a live actor at `now_s`, in monotonic seconds."""
        passed_s = 0.0 if self._looked_s is None else min(now_s - self._looked_s, LOOK_S_MAX)
        self._looked_s = now_s
        now, before_s = set(manned), self._without_s
        self._known |= now
        self._without_s = {name: 0.0 if name in now else before_s.get(name, 0.0) + passed_s for name in self._vendors}

    def absent(self, manned: Collection[str]) -> set[str]:
        """Return the vendors that had an actor since this process began and have none now.

        A vendor that never had an actor may still be starting.
        """
        return self._known - set(manned)

    def without_actor_s(self, manned: Collection[str]) -> dict[str, float]:
        """Return for how many seconds each vendor has been without an actor. `manned` are those that have one now."""
        return {name: seconds for name, seconds in self._without_s.items() if name not in manned}


def decide_unmanned(
    without_actor_s: Mapping[str, float], free_cpus: Mapping[str, float], needed: float, before: Mapping[str, str]
) -> dict[str, str]:
    """Return the reason (`NO_CPU` or `NO_START`) of each unmanned vendor, sorted by its name.

    `without_actor_s` gives the vendors without a live actor, and for how many seconds. `free_cpus` gives what Ray has
    not reserved on each machine; it is empty if this is not known. `needed` is what an actor reserves. `before` is the
    result in the previous plan.
    """
    found: dict[str, str] = {}
    for name, seconds in sorted(without_actor_s.items()):
        no_cpu = max(free_cpus.values()) < needed if free_cpus else before.get(name) == NO_CPU
        if no_cpu and (seconds >= NO_CPU_S or name in before):
            found[name] = NO_CPU
        elif seconds >= NO_START_S or name in before:
            found[name] = NO_START
    return found


def sentences(unmanned: Mapping[str, str]) -> Iterator[str]:
    """Return a sentence for each reason, which names the vendors. A newer version may have given unknown reasons."""
    for reason in dict.fromkeys(unmanned.values()):
        names = [name for name, why in unmanned.items() if why == reason]
        yield f"{', '.join(names)}: {SENTENCES.get(reason, reason)}"
