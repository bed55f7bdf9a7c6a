"""Checks the links of the repository's Markdown files: every relative path and every anchor must exist.

    python -m handbook.links

The check uses no network, so links to other hosts are not checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import click

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+).+?\1", re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
MARKS = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[`*]")
LEFT_OUT = {".venv", ".venv-docs", ".git", "site", "node_modules", "state"}


def documents(root: Path = ROOT) -> list[Path]:
    """Return the paths of all Markdown files of the repository, sorted."""
    found: list[Path] = []
    for folder, below, names in os.walk(root):
        below[:] = set(below) - LEFT_OUT  # an environment holds thousands of folders: none is entered
        found += (Path(folder, name) for name in names if name.endswith(".md"))
    return sorted(found)


def faults(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Yield one line for each link of the file `path` that leads nowhere."""
    for target in LINK.findall(_prose(path.read_text())):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / unquote(name)).resolve() if name else path
        if not place.exists():
            yield f"{path.relative_to(root)}: {target} does not exist"
        elif not place.is_relative_to(root):
            yield f"{path.relative_to(root)}: {target} leads out of the repository"
        elif anchor and place.suffix == ".md" and unquote(anchor) not in anchors(place):
            yield f"{path.relative_to(root)}: {target} names no heading"


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors of a file's headings, as GitHub makes them. A heading that appears again gets a number."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", path.read_text())):
        slug, number = slug_of(heading), 0
        while (slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(slug if not number else f"{slug}-{number}")
    return frozenset(found)


def slug_of(heading: str) -> str:
    """Return the anchor of a heading: lower case, without punctuation, with a hyphen for each space."""
    plain = MARKS.sub(lambda match: match[1] or "", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def _prose(text: str) -> str:
    """Return the text without code. Each code span becomes one letter, so that a link with code as its text is still
    found.
    """
    return CODE.sub("x", FENCE.sub("", text))


@click.command(help=__doc__)
def main() -> None:
    found = [fault for path in documents() for fault in faults(path)]
    if found:
        raise click.ClickException("\n".join(found))
    click.echo("every link leads somewhere")


if __name__ == "__main__":
    main()
