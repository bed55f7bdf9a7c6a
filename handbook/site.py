"""Hooks of the site: links that leave docs/ become plain text, for the site has the documents only.

mkdocs loads this file by its path (`hooks` of mkdocs.yml), so it imports nothing of this repository.
"""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?:\.\./)+([^()\s]*)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Keep a link from one page to another; write the path of everything else behind the link's text."""
    depth = page.file.src_uri.count("/")

    def plain(match: re.Match[str]) -> str:
        if match[0].count("../") <= depth:
            return match[0]
        text, path = match[1], match[2]
        return f"{text}" if path in text else f"{text} (`{path}`)"

    return OUTSIDE.sub(plain, markdown)
