"""Reports to `deploy` the state of one node.

The report is made on the node itself, as a Ray task with the node's package and environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from actors.proof import certificate_pair, prove
from cluster.local import redis_checks
from cluster.local.cell_checks import cell_faults
from cluster.local.ray_settings import open_files_fault
from cluster.local.replica_checks import check_replicas
from cluster.nodes import setting_faults, tls_faults
from dispatcher.config.settings import parse_settings
from dispatcher.config.store_settings import StoreSettings
from dispatcher.core.json_object import JsonObject
from dispatcher.errors import ConfigError
from dispatcher.version import VERSION


@dataclass(frozen=True, slots=True)
class Question:
    """The question that `deploy` asks every node. `code` is the fingerprint of our code on the deploying machine."""

    settings: JsonObject
    redis_url: str
    api_keys: str
    code: str


@dataclass(slots=True)
class NodeReport:
    """The report of one node.

    `faults` are sentences that name a variable or a file. `deploy` refuses if there is any fault. The values in the
    other fields may be right on this installation, so `deploy` decides about them.
    """

    faults: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # settings with another value than was measured
    redis_faults: list[str] = field(default_factory=list)  # of a Redis that may lose what was accepted
    key_prefixes: list[str] = field(default_factory=list)
    outside_store: bool = False  # only a head says so: its GCS keeps its state in a Redis


def report(question: Mapping[str, Any]) -> JsonObject:
    """Answer a `Question` and return a `NodeReport`, both as plain dictionaries.

    So Ray need not transport our classes between machines.
    """
    asked, found = Question(**question), NodeReport()
    found.faults, found.others = setting_faults(os.environ)
    found.faults += _token_faults()
    found.faults += [fault] if (fault := open_files_fault()) else []
    found.faults += _code_faults(asked.code)
    found.faults += _secret_faults(asked.settings)
    _look_at_certificate(asked.settings, found)
    _look_at_redis(asked.redis_url, asked.settings, found)
    _look_at_keys(asked.api_keys, found)
    found.outside_store = bool(os.environ.get("RAY_REDIS_ADDRESS"))
    return asdict(found)


def _token_faults() -> list[str]:
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode == "token":
        return []
    return [f"RAY_AUTH_MODE is {mode or 'not set'}, needed is token: without it whoever reaches Ray's ports runs code"]


def _code_faults(code: str) -> list[str]:
    from serve_app.applications import code_fingerprint

    mine = code_fingerprint()
    same = f"its code differs from that of whoever deploys (version {VERSION} there, Python {sys.version.split()[0]})"
    return [] if mine == code else [f"resilient-dispatcher: {same}"]


def _secret_faults(settings: JsonObject) -> list[str]:
    try:
        prove(parse_settings(settings))
    except ConfigError as error:
        return str(error).split("\n")
    return []


def _look_at_certificate(data: JsonObject, found: NodeReport) -> None:
    """Add to `found` each variable of this node that differs from the section `tls`, and warnings about the
    certificate.

    Certificate files that do not fit are not reported here, because `prove` has already reported them.
    """
    try:
        settings = parse_settings(data)
        found.faults += tls_faults(settings.tls, os.environ)
        pair = certificate_pair(settings)
    except ConfigError:
        return
    found.others += pair.warnings if pair is not None else ()


def _look_at_redis(url: str, settings: JsonObject, found: NodeReport) -> None:
    try:
        client = redis_checks.connect(url)
        client.connection_pool.connection_kwargs.update(socket_connect_timeout=3.0, socket_timeout=3.0)
        store = StoreSettings.model_validate(settings.get("store", {}))
        found.redis_faults += redis_checks.check(client, unsafe=True, stated=store.durability_stated)
        found.redis_faults += check_replicas(client, store, unsafe=True)
        cells = cell_faults(store, unsafe=True)
        found.redis_faults += cells.unsafe
        found.others += cells.away
    except ConfigError as error:
        found.faults.append(str(error))


def _look_at_keys(path: str, found: NodeReport) -> None:
    if not path:
        return
    try:
        found.key_prefixes = sorted(row["prefix"] for row in json.loads(Path(path).read_text())["keys"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        found.faults.append(f"--api-keys {path}: cannot be read there: {type(error).__name__}")
        return
    if not found.key_prefixes:
        found.faults.append(f"--api-keys {path}: holds no key there; `dispatcher key new` makes one")
