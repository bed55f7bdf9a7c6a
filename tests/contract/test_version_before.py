"""Tests this version and the previous version on one Redis: each reads what the other has stored and published.

The previous version is real code, frozen in tests/data. Both run as processes of their own and are asked the same
questions.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from dispatcher.adapters.redis.keys import Keys
from tests import version_before
from tests.version_before import PEER, ROOT

NOW, BEFORE = "now", "before"
BOTH_WAYS = [(NOW, BEFORE), (BEFORE, NOW)]
DIGEST = "0123456789abcdef"
KINDS = ("plain", "two", "several", "fallback", "hold", "delayed", "capped", "rated")
SETTLED = "settled"


class Asked:
    """A process that runs one version of the program on the Redis at `url`.

    `ask` sends one question to this process and returns its answer.
    """

    def __init__(self, code: Path, peer: Path, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(peer), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(code)},
            cwd=code,
        )

    def ask(self, question: str, /, **arguments: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([question, arguments]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert not (isinstance(answer, dict) and "error" in answer), f"{question}: {answer}"
        return answer

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0


class Two:
    """Both versions. `self[NOW]` is this version, and `self[BEFORE]` is the previous one."""

    def __init__(self, found: dict[str, Asked]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> Asked:
        return self._found[name]

    def same(self, question: str, /, **arguments: Any) -> Any:
        """Ask both versions the same question, assert that their answers are equal, and return the answer."""
        now, before = (self[version].ask(question, **arguments) for version in (NOW, BEFORE))
        assert now == before
        return now


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return version_before.unpack(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def both(code: Path, redis_url: str) -> Iterator[Two]:
    found = {NOW: Asked(ROOT, ROOT / PEER, redis_url), BEFORE: Asked(code, code / "peer.py", redis_url)}
    yield Two(found)
    for one in found.values():
        one.end()


@pytest.fixture
def two(both: Two, redis_client: redis.asyncio.Redis) -> Two:
    """Return both versions, with an empty Redis."""
    return both


def test_the_version_before_is_other_code(code: Path) -> None:
    """The frozen code differs from this version. Otherwise the other tests of this file would show nothing."""
    files = [path.relative_to(code) for path in (code / "dispatcher").rglob("*") if path.suffix in (".py", ".lua")]
    assert any((code / file).read_bytes() != (ROOT / file).read_bytes() for file in files if (ROOT / file).exists())
    assert "digest" not in (code / "dispatcher/wire/records.py").read_text()


@pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_one_accepts_the_other_delivers(two: Two, writer: str, reader: str, kind: str) -> None:
    """One version accepts a trigger, and the other version claims and settles it.

    Both versions show the same states, and both answer REPLAYED when the trigger is posted again.
    """
    assert two[writer].ask("accept", id="0-x", kind=kind, key="k1") == "STORED"
    for version in (NOW, BEFORE):
        assert two[version].ask("accept", id="0-x", kind=kind, key="k1") == "REPLAYED"
    shown = two.same("show", id="0-x")
    assert (shown["tenant"], shown["key"]) == ("shop", "k1")
    if kind == "delayed":
        assert two[reader].ask("promote") == ["0-x.0 DONE"]
    me = two[reader].ask("register", vendor="a")
    claims = two[reader].ask("claim", me=me, vendor="a")
    assert [claim["id"] for claim in claims] == (["0-x.0", "0-x.1"] if kind == "several" else ["0-x.0"])
    claim = claims[0]
    assert (claim["to"], claim["data"]["name"], claim["locale"]) == ("+491511", "Ädä", "de-DE")
    assert (claim["chain"], claim["pin"]) == (["a", "b", "c"], ["receipt", 3])
    if kind == "hold":
        assert two[reader].ask("start", me=me, id="0-x.0")
    for claim in claims:
        assert two[reader].ask("apply", me=me, id=claim["id"], what="settle") == "DONE"
    states = [one["state"] for one in two.same("show", id="0-x")["notifications"]]
    rest = {"two": ["queued"], "fallback": ["standby"]}
    assert states == [SETTLED] * len(claims) + rest.get(kind, [])
    if kind == "fallback":
        assert two[writer].ask("promote") == []
        assert two.same("show", id="0-x")["notifications"][1]["state"] == "skipped"


@pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
def test_progress_is_read_by_the_other(two: Two, writer: str, reader: str) -> None:
    """The versions alternate in deciding about a notification. Each reads the attempts, the trail and the history."""
    two[writer].ask("accept", id="0-x", kind="plain")
    me = two[writer].ask("register", vendor="a")
    two[writer].ask("claim", me=me, vendor="a")
    assert two[writer].ask("apply", me=me, id="0-x.0", what="retry") == "DONE"
    assert two[reader].ask("promote") == ["0-x.0 DONE"]
    other = two[reader].ask("register", vendor="a")
    (claim,) = two[reader].ask("claim", me=other, vendor="a")
    assert (claim["attempts"], claim["trail"]) == (1, [["a"], ["a"], ["a"], 1, 2])
    assert two[reader].ask("apply", me=other, id="0-x.0", what="move") == "DONE"
    at_b = two[writer].ask("register", vendor="b")
    (claim,) = two[writer].ask("claim", me=at_b, vendor="b")
    assert (claim["attempts"], claim["moved_epoch"], claim["lane"]) == (2, 3, ["b", "normal"])
    assert two[writer].ask("apply", me=at_b, id="0-x.0", what="hold") == "DONE"
    assert two.same("held", id="0-x.0") == []  # it was never started, so nobody can ask a vendor about it
    found = two.same("show", id="0-x")["notifications"][0]
    assert (found["state"], [line[1] for line in found["attempts"]]) == ("held", ["retry", "move", "hold"])
    assert two[reader].ask("withdraw", id="0-x.0", to=SETTLED) == "DONE"
    assert two.same("show", id="0-x")["notifications"][0]["state"] == SETTLED


@pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
@pytest.mark.parametrize("template", [None, [4, DIGEST, "mended"], [4, None, "mended"]])
def test_a_redriven_letter_is_delivered_by_the_other(
    two: Two, writer: str, reader: str, template: list[Any] | None
) -> None:
    """One version redrives a dead letter with a new chain and template. The other version claims it with both.

    Then they change roles, two times.
    """
    two[writer].ask("accept", id="0-x", kind="plain")
    pin = ["receipt", 3] if template is None else ["mended", 4]
    for generation, version, other in ((1, writer, reader), (2, reader, writer), (3, writer, reader)):
        me = two[version].ask("register", vendor="a")
        two[version].ask("claim", me=me, vendor="a")
        assert two[version].ask("apply", me=me, id="0-x.0", what="dead") == "DONE"
        assert two.same("show", id="0-x")["notifications"][0]["reason"] == "expired"
        assert two[version].ask("redrive", id="0-x.0", chain=["a", "c"], template=template) == 1
        me = two[other].ask("register", vendor="a")
        (claim,) = two[other].ask("claim", me=me, vendor="a")
        assert (claim["chain"], claim["pin"], claim["generation"]) == (["a", "c"], pin, generation)
        assert two[other].ask("apply", me=me, id="0-x.0", what="retry") == "DONE"
        assert two[version].ask("promote") == ["0-x.0 DONE"]
        assert two.same("show", id="0-x")["notifications"][0]["template"] == pin
    me = two[writer].ask("register", vendor="a")
    two[writer].ask("claim", me=me, vendor="a")
    assert two[writer].ask("apply", me=me, id="0-x.0", what="settle") == "DONE"


async def test_a_digest_that_another_version_left_behind_is_not_believed(
    two: Two, redis_client: redis.asyncio.Redis
) -> None:
    """The previous version redrives a notification with a newer template, and leaves the digest of the older template
    in its record.

    This version ignores that digest, because it belongs to another version number.
    """
    record = Keys().record("0-x")
    two[NOW].ask("accept", id="0-x", kind="plain")
    for version, number in ((NOW, 4), (BEFORE, 5)):
        me = two[version].ask("register", vendor="a")
        two[version].ask("claim", me=me, vendor="a")
        two[version].ask("apply", me=me, id="0-x.0", what="dead")
        assert two[version].ask("redrive", id="0-x.0", template=[number, DIGEST, "mended"]) == 1
    assert await redis_client.hget(record, "0.td") == f"4:{DIGEST} mended"
    assert two.same("show", id="0-x")["notifications"][0]["template"] == ["mended", 5]
    me = two[NOW].ask("register", vendor="a")
    (claim,) = two[NOW].ask("claim", me=me, vendor="a")
    assert (claim["pin"], claim["digest"]) == (["mended", 5], None)


@pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
def test_what_a_dead_actor_of_one_had_the_other_takes(two: Two, writer: str, reader: str) -> None:
    """An actor of one version dies, and an actor of the other version takes its entries. A crash is counted for each.

    A `hold` notification that the dead actor had started becomes held.
    """
    two[writer].ask("accept", id="0-x", kind="plain")
    two[writer].ask("accept", id="0-y", kind="hold")
    dead, heir = two[writer].ask("register", vendor="a"), two[reader].ask("register", vendor="a")
    assert len(two[writer].ask("claim", me=dead, vendor="a")) == 2
    assert two[writer].ask("start", me=dead, id="0-y.0")
    assert two.same("live") == {name: [0, 7, "node 1"] for name in sorted((dead, heir))}
    assert two[writer].ask("renew", name=dead)
    assert two[reader].ask("bury", names=[dead]) == [dead]
    assert not two[writer].ask("renew", name=dead)
    (claim,) = two[reader].ask("take", me=heir, vendor="a")
    assert (claim["id"], claim["crashes"]) == ("0-x.0", 1)
    assert two[writer].ask("apply", me=dead, id="0-x.0", what="settle") == "LOST"
    assert two.same("show", id="0-y")["notifications"][0]["state"] == "held"
    assert two.same("held", id="0-y.0") == [["0-y.0", "a"]]
    assert two[reader].ask("apply", me=heir, id="0-x.0", what="settle") == "DONE"


@pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
def test_plans_and_what_processes_tell_each_other_are_read(two: Two, writer: str, reader: str) -> None:
    """One version publishes plans, overrides, breaker states, beats and reports, and the other version reads the same
    values.

    A supervisor of the other version can begin a later term and publish the next plan.
    """
    plan = two[writer].ask("publish", epoch=1)
    assert two.same("plan") == plan
    assert two[reader].ask("publish", epoch=2)["epoch"] == 2
    assert two.same("plan")["epoch"] == 2
    two[writer].ask("override", vendor="a", state="open")
    assert two.same("overrides") == {"a": ["open", "me", "why", 2_000_000_000_000]}
    two[writer].ask("remember", vendor="a", breaker={"state": "open", "wait_s": 3.5})
    assert two.same("recall", vendor="a") == {"state": "open", "wait_s": 3.5}
    two[reader].ask("listen")
    two[writer].ask("tell")
    beat, report = two[reader].ask("heard")
    assert beat == {"incarnation": "a/1", "vendor": "a", "replica": "r1"}
    assert report["window"] == {"n": 10, "failed": 6}
    assert (report["breaker"], report["epoch"], report["office"]) == ("open", 9, "supervisor/1")


@pytest.mark.parametrize(("writer", "reader"), BOTH_WAYS)
def test_templates_are_shared(two: Two, writer: str, reader: str) -> None:
    """Both versions put, read and delete the same templates, and count the same version numbers."""
    assert two[writer].ask("put_template", name="receipt", text="one") == 1
    assert two[reader].ask("put_template", name="receipt", text="one") == 1
    assert two[reader].ask("put_template", name="receipt", text="two", by_file=True) == 2
    assert two[writer].ask("put_template", name="receipt", text="two", by_file=True) == 2
    assert two[writer].ask("put_template", name="receipt", text="three") == 3
    assert two.same("latest") == {"receipt": 3}
    assert two.same("template", name="receipt", version=2)["text"] == "two"
    assert two[writer].ask("delete_template", name="receipt")
    assert two.same("latest") == {}
    assert two[reader].ask("put_template", name="receipt", text="four") == 4


@pytest.mark.parametrize("writer", [NOW, BEFORE])
def test_a_trigger_names_the_digest_of_a_text_that_either_has_stored(two: Two, writer: str) -> None:
    """One of the two versions stores a text. A trigger that names the digest of this text is accepted, and the previous
    version can send its message.

    If the previous version stored the text, it stored no digest, so only the version number is compared.
    """
    assert two[writer].ask("put_template", name="receipt", text="one") == 1
    assert two[NOW].ask("accept", id="0-p", kind="pinned") == "STORED"
    me = two[BEFORE].ask("register", vendor="a")
    (claim,) = two[BEFORE].ask("claim", me=me, vendor="a")
    assert claim["pin"] == ["receipt", 1]
    assert two[BEFORE].ask("apply", me=me, id="0-p.0", what="settle") == "DONE"


@pytest.mark.parametrize("seed", range(6))
def test_any_walk_through_both_loses_nothing(two: Two, seed: int) -> None:
    """In a random history, each step is done by either of the two versions.

    After each step both versions show the same states, and in the end every notification is settled.
    """
    chance = random.Random(seed)
    names = [f"0-w{n}" for n in range(6)]
    for n, name in enumerate(names):
        kind = ("plain", "hold", "several", "delayed", "rated", "plain")[n]
        two[chance.choice((NOW, BEFORE))].ask("accept", id=name, kind=kind, tenant=f"t{n % 2}")
    actors = {
        (version, vendor): two[version].ask("register", vendor=vendor) for version in (NOW, BEFORE) for vendor in "ab"
    }
    for turn in range(60):
        version, vendor = chance.choice((NOW, BEFORE)), chance.choice("ab")
        me, at = actors[version, vendor], two[version]
        at.ask("promote")
        for claim in at.ask("claim", me=me, vendor=vendor):
            assert not claim.get("unreadable") and not claim.get("orphan")
            if claim["state"] == "started" or at.ask("start", me=me, id=claim["id"]):
                what = "settle" if turn > 40 else chance.choice(("settle", "retry", "move", "dead"))
                assert at.ask("apply", me=me, id=claim["id"], what=what) == "DONE"
        for name in names:
            for n, one in enumerate(two.same("show", id=name)["notifications"]):
                if one["state"] == "dead":
                    template = [4, DIGEST, "mended"]
                    assert two[chance.choice((NOW, BEFORE))].ask("redrive", id=f"{name}.{n}", template=template) == 1
    found = [one["state"] for name in names for one in two.same("show", id=name)["notifications"]]
    assert found == [SETTLED] * 7
    counts = two.same("counts")
    assert all(not any(queued.values()) and not claimed for queued, claimed in counts.pop("mailboxes").values())
    assert counts == {"due": 0, "delayed": 0, "held": 0, "dead": 0}
