"""The version of this package."""

from __future__ import annotations

VERSION = "0.1.0"
"""The version, as in `pyproject.toml`. The API, the logs and `--version` show it."""
