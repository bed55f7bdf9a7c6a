"""Changes pages for the site: a link that leaves docs/ becomes plain text, because the site holds only docs/.

mkdocs loads this file by its path (`hooks` of mkdocs.yml), so it imports nothing of this repository.
"""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?:\.\./)+([^()\s]*)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page with each link out of docs/ replaced by its text and path. Other links stay as they are."""
    depth = page.file.src_uri.count("/")

    def plain(match: re.Match[str]) -> str:
        if match[0].count("../") <= depth:
            return match[0]
        text, path = match[1], match[2]
        return f"{text}" if path in text else f"{text} (`{path}`)"

    return OUTSIDE.sub(plain, markdown)
