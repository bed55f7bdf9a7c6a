"""The Redis of every cell is checked before a start or a reload, and cells are only added."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis

from cluster.local import cell_checks, redis_checks
from cluster.local.cell_checks import check_stores, recheck, refuse_removal
from dispatcher.config.store_settings import StoreSettings
from dispatcher.errors import ConfigError, UnavailableError
from tests.unit.cluster.test_redis_checks import SAFE

FIRST = "redis://first"


class Server:
    """A Redis that answers the start check. `changes` are settings with other values."""

    def __init__(self, *, away: bool = False, password: bool = True, **changes: str) -> None:
        self._away, self._password = away, password
        self._settings = {**SAFE, **changes}
        self.asked: list[str] = []
        self.connection_pool = SimpleNamespace(connection_kwargs={})

    def info(self, section: str) -> dict[str, Any]:
        if not self._password:
            raise redis.AuthenticationError("WRONGPASS")
        if self._away:
            raise redis.ConnectionError("refused")
        return {"server": {"redis_version": "7.2.4"}, "cluster": {"cluster_enabled": 0}}[section]

    def eval(self, script: str, keys: int, key: str, word: str) -> str:
        self.asked.append(key.partition("probe")[0])
        return word

    def config_get(self, pattern: str) -> dict[str, str]:
        return self._settings


class Scene:
    """The servers by their URL, and the installations that cells were asked to join."""

    def __init__(self, **servers: Server) -> None:
        self.servers = {f"redis://{name}": server for name, server in servers.items()}
        self.joined: list[list[str]] = []
        self.fault: Exception | None = None

    def connect(self, url: str, where: str = "--redis-url") -> redis.Redis:
        return cast(redis.Redis, self.servers[url])

    async def join_cells(self, members: Any, installation: str) -> list[Any]:
        assert len(installation) == 16
        self.joined.append([member.cell for member in members])
        if self.fault is not None:
            raise self.fault
        return []


def store(*names: str) -> StoreSettings:
    return StoreSettings.model_construct(**{**StoreSettings().__dict__, "cells": [f"redis://{name}" for name in names]})


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scene]:
    def begin(**servers: Server) -> Scene:
        scene = Scene(**servers)
        monkeypatch.setattr(redis_checks, "connect", scene.connect)
        monkeypatch.setattr(cell_checks, "join_cells", scene.join_cells)
        return scene

    return begin


def test_every_cell_is_checked_under_its_own_keys(play: Callable[..., Scene]) -> None:
    """Three safe servers give no warning, and the three cells join in their order."""
    scene = play(first=Server(), second=Server(), third=Server())
    assert check_stores(FIRST, store("second", "third"), unsafe=False) == ([], [])
    assert [server.asked for server in scene.servers.values()] == [["{nd:0}:"], ["{nd:1}:"], ["{nd:2}:"]]
    assert scene.joined == [["0", "1", "2"]]


def test_an_unsafe_cell_is_refused_by_its_setting(play: Callable[..., Scene]) -> None:
    """The message names the setting. With `--unsafe-redis` it is a warning. Nothing joins before the check."""
    scene = play(first=Server(), second=Server(appendfsync="everysec"))
    with pytest.raises(ConfigError, match=r"^store\.cells\.0: .*appendfsync is everysec"):
        check_stores(FIRST, store("second"), unsafe=False)
    assert scene.joined == []
    (warning,) = check_stores(FIRST, store("second"), unsafe=True).unsafe
    assert warning.startswith("store.cells.0: appendfsync is everysec")


def test_a_further_cell_that_is_away_is_a_warning(play: Callable[..., Scene]) -> None:
    """The other cells start without it. A wrong password is no absence, and is refused. So is a first cell that is
    away.
    """
    play(first=Server(), second=Server(away=True))
    (warning,) = check_stores(FIRST, store("second"), unsafe=False).away
    assert warning == "store.cells.0: cell 1 is away: no Redis answers: refused"
    play(first=Server(), second=Server(password=False))
    with pytest.raises(ConfigError, match=r"store\.cells\.0: user or password"):
        check_stores(FIRST, store("second"), unsafe=False)
    play(first=Server(away=True), second=Server())
    with pytest.raises(ConfigError, match=r"^no Redis answers"):
        check_stores(FIRST, store("second"), unsafe=False)


def test_a_server_that_is_another_cell_is_refused(play: Callable[..., Scene]) -> None:
    """A refusal to join ends the start, and so does an unknown past of the installation."""
    scene = play(first=Server(), second=Server())
    scene.fault = ConfigError("store.cells.0: this is the Redis of cell 2, and it cannot be cell 1")
    with pytest.raises(ConfigError, match="the Redis of cell 2"):
        check_stores(FIRST, store("second"), unsafe=False)
    scene.fault = UnavailableError("the Redis of cell 0 does not answer")
    with pytest.raises(ConfigError, match="--redis-url: the Redis of cell 0"):
        check_stores(FIRST, store("second"), unsafe=False)


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [
        (("a",), ("a", "b"), None),
        ((), ("a",), None),
        (("a", "b"), ("a",), "store.cells.1: cell 2 is in use"),
        (("a", "b"), ("b", "a"), "store.cells.0: cell 1 is in use"),
        (("a",), ("c",), "store.cells.0: cell 1 is in use"),
    ],
)
def test_cells_are_only_added_at_the_end(before: tuple[str, ...], now: tuple[str, ...], refused: str | None) -> None:
    if refused is None:
        refuse_removal(store(*before), store(*now))
        return
    with pytest.raises(ConfigError, match=refused):
        refuse_removal(store(*before), store(*now))


def test_a_reload_checks_a_new_cell_and_lets_it_join(play: Callable[..., Scene]) -> None:
    """A reload without a change of the store asks nobody."""
    scene = play(first=Server(), second=Server(), third=Server(away=True))
    assert recheck(FIRST, store("second"), store("second"), unsafe=False) == []
    assert scene.joined == []
    (warning,) = recheck(FIRST, store("second"), store("second", "third"), unsafe=False)
    assert (warning.partition(":")[0], scene.joined) == ("store.cells.1", [["0", "1", "2"]])
    with pytest.raises(ConfigError, match="cell 1 is in use"):
        recheck(FIRST, store("second"), store(), unsafe=False)
    assert len(scene.joined) == 1
