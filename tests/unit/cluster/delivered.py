"""Reads the files in cluster/files that are delivered beside the code, as text or as parsed YAML."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

FILES = Path(str(resources.files("cluster") / "files"))


def text(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def loaded(name: str) -> Any:
    return yaml.safe_load(text(name))
