"""Checks that the pages of a built site load nothing from another host: no script, style, font, image or frame.

    python -m handbook.fetches site

A link that a reader follows may lead to any host. The check looks only at what a browser loads by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click

LOADED = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "iframe": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "object": ("data",),
    "embed": ("src",),
}
FOLLOWED_RELS = {"canonical", "next", "prev", "alternate", "author", "license"}
ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?\s*((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._style = tag == "style"
        if tag == "link" and FOLLOWED_RELS & set(found.get("rel", "").split()):
            return
        values = [found[name] for name in LOADED.get(tag, ()) if name in found]
        self.fetched += [value for value in values if ELSEWHERE.match(value)]
        self.fetched += IN_STYLE.findall(found.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._style:
            self.fetched += IN_STYLE.findall(data)


def fetched_by(path: Path) -> list[str]:
    """Return the addresses of other hosts that the page or style sheet `path` loads."""
    text = path.read_text(errors="replace")
    if path.suffix == ".css":
        return IN_STYLE.findall(text)
    page = _Page()
    page.feed(text)
    return page.fetched


def faults(site: Path) -> Iterator[str]:
    """Yield one line for each address that a page or style sheet of `site` loads from another host."""
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css"):
            yield from (f"{path.relative_to(site)} fetches {address}" for address in fetched_by(path))


@click.command(help=__doc__)
@click.argument("site", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(site: Path) -> None:
    found = list(faults(site))
    if found:
        raise click.ClickException("\n".join(found))
    click.echo(f"{site}: no page fetches anything from elsewhere")


if __name__ == "__main__":
    main()
