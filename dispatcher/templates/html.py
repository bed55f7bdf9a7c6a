"""Where in an HTML part an expression stands, and whether escaping is enough there.

Escaping makes an expression safe in text and inside a quoted attribute. It is not enough at the start of a URL
(`javascript:…`), in an unquoted attribute, in a tag's own text, in an event handler, a style, or a script: the first is
checked when rendered, the others do not compile. The static text is read once, in the order in which it is written.
"""

from __future__ import annotations

import re
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError

URL_SCHEMES = ("http", "https", "mailto", "tel", "cid")
# fmt: off
_URL_ATTRIBUTES = frozenset((
    "href", "src", "action", "formaction", "poster", "background", "cite", "data", "xlink:href",
))
# fmt: on
_STEP = re.compile(
    r"""(?P<comment><!--.*?(?:-->|$))|(?P<open></?[A-Za-z][^\s/>"'=]*)|(?P<close>>)
    |(?P<name>[^\s"'<>/=]+)(?P<equals>\s*=\s*)|(?P<quote>["'])|(?P<other>[^<>"'\s]+|\s+|.)""",
    re.S | re.X,
)
_SCHEME = re.compile(r"([^/?#:]*):")


def safe_url(value: Any) -> Any:
    """`value` when it is relative or of an allowed scheme. Errors: `SecurityError`, without the value."""
    text = "".join(str(value).split()).lower()  # browsers ignore white space inside of a scheme
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1] not in URL_SCHEMES:
        raise SecurityError(f"a URL must be relative or of one of the schemes {', '.join(URL_SCHEMES)}")
    return value


class HtmlScanner:
    """Reads static text piece by piece; between two pieces, says what an expression there needs."""

    def __init__(self) -> None:
        self._raw = ""  # "script" or "style" while inside
        self._tag = ""  # the open tag's name ("/a" for a closing one), "" in text
        self._attribute = ""  # the name before an equals sign
        self._quote = ""
        self._url = ""  # static text of the URL so far
        self._half = False  # the text ends in "<": what follows would be a tag

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            at = self._in_quotes(text, at) if self._quote else self._step(text, at)
        self._half = not self._quote and text.endswith(("<", "</"))

    def expression(self, line: int) -> bool:
        """Whether the expression here must be a safe URL. Errors: `SecurityError` where nothing makes it safe."""
        if self._raw:
            raise SecurityError(f"line {line}: an expression inside of <{self._raw}> is not available in templates")
        if self._half:
            raise SecurityError(f"line {line}: an expression that names a tag is not available in templates")
        if not self._tag:
            return False
        if not self._quote:
            raise SecurityError(f"line {line}: an expression inside of a tag must be in a quoted attribute")
        if self._attribute.startswith("on") or self._attribute in ("style", "srcdoc"):
            raise SecurityError(f"line {line}: an expression in the attribute {self._attribute} is not available")
        return self._attribute in _URL_ATTRIBUTES and not re.search(r"[/?#:]", self._url)

    def _in_quotes(self, text: str, at: int) -> int:
        end = text.find(self._quote, at)
        self._url += text[at:] if end < 0 else text[at:end]
        if end < 0:
            return len(text)
        self._quote = self._attribute = self._url = ""
        return end + 1

    def _step(self, text: str, at: int) -> int:
        if self._raw:
            end = text.lower().find(f"</{self._raw}", at)
            if end < 0:
                return len(text)
            self._raw = ""
            at = end
        step = _STEP.match(text, at)
        if step is None:
            return len(text)
        if not self._tag:
            if step["open"]:
                self._tag = step["open"][1:].lower()
            return step.end() if step["open"] or step["comment"] else at + 1
        if step["close"]:
            self._raw = self._tag if self._tag in ("script", "style") else ""
            self._tag = self._attribute = ""
        elif step["name"]:
            self._attribute = step["name"].lower()
        elif step["quote"]:
            self._quote = step["quote"]
        return step.end()


def guard_urls(tree: nodes.Template) -> None:
    """Wraps each expression that starts a URL into the filter ` url`."""
    scanner = HtmlScanner()
    for output in tree.find_all(nodes.Output):
        for index, node in enumerate(output.nodes):
            if isinstance(node, nodes.TemplateData):
                scanner.feed(node.data)
            elif scanner.expression(node.lineno):
                output.nodes[index] = nodes.Filter(node, " url", [], [], None, None, lineno=node.lineno)
