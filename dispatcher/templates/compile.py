"""Compiles a template's source into parts that can be rendered. Every failure is a `TemplateError`.

A `TemplateError` is permanent for its notification, and does not affect any other notification. The error's text names
the template, the part, and a variable or a line of the template. The text never shows a value, which could be an
address.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import minijinja

from dispatcher.core.json_object import JsonObject
from dispatcher.errors import TemplateError
from dispatcher.templates.engine import Engine, RenderFault
from dispatcher.templates.html import guard
from dispatcher.templates.owned import plain_name
from dispatcher.templates.source import TemplateSource
from dispatcher.templates.syntax import parse
from dispatcher.templates.tree import Block, Node, SyntaxFault, Text

SOURCE_CHARS_MAX = 262_144  # of one part; mail programs cut HTML at 100 KiB
OUTPUT_BYTES_MAX = {"subject": 998, "text": 65_536, "html": 262_144}  # `subject`: a header line's limit
DATA_DEPTH_MAX = 32  # twice the depth that requests may have

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")
# Some mail program or server ends a header line at each of these characters.
_HEADER_BREAK = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SCALARS = frozenset((str, int, float, bool, type(None)))


@dataclass(frozen=True, slots=True)
class Rendered:
    """The texts of one message. `subject` and `html` are None if the template has no such part."""

    subject: str | None
    text: str
    html: str | None


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """One version of a template, ready to render.

    `parts` maps `subject`, `text` and `html` to the `Engine` of each part.
    """

    source: TemplateSource
    parts: Mapping[str, Engine]
    digest: str
    """The digest of `source`, computed once because hashing costs time."""

    def render(self, data: Mapping[str, Any], locale: str | None = None) -> Rendered:
        """Return the message for `data`.

        The template's variables are the keys of `data`, and `locale` if it is not None.

        Raises `TemplateError` if a variable is missing, if `data` holds a value that is not plain JSON, if the subject
        contains a line end or a control character, or if a limit of size or work is exceeded.
        """
        plain = check_plain(data)
        if locale is not None:
            plain = {"locale": locale, **plain}
        done = {part: self._part(part, template, plain) for part, template in self.parts.items()}
        subject = done.get("subject")
        if subject is not None and _HEADER_BREAK.search(subject):
            raise TemplateError(f"{_label(self.source, 'subject')}: a line end or control character in the subject")
        return Rendered(subject, done["text"], done.get("html"))

    def _part(self, part: str, engine: Engine, data: JsonObject) -> str:
        try:
            text = engine.render(data)
        except RenderFault as fault:
            raise TemplateError(f"{_label(self.source, part)}: {fault.rule}") from None
        if (len(text) if text.isascii() else len(text.encode("utf-8"))) > OUTPUT_BYTES_MAX[part]:
            raise TemplateError(f"{_label(self.source, part)}: more than {OUTPUT_BYTES_MAX[part]} bytes")
        return text


def compile_template(source: TemplateSource) -> CompiledTemplate:
    """Compile `source` in one step, for command lines and tests. Other tasks of an event loop would have to wait.

    Raises `TemplateError`, which names the part and the line.
    """
    steps = _steps(source, given=True)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            compiled: CompiledTemplate = done.value
            return compiled


async def compile_gently(source: TemplateSource, *, given: bool = False) -> CompiledTemplate:
    """Compile, and let the event loop run other tasks about every millisecond.

    `given` is True if an author submits the text now. Then stricter rules apply, which a version stored by an earlier
    release may break. Raises `TemplateError`, which names the part and the line.
    """
    steps = _steps(source, given=given)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            compiled: CompiledTemplate = done.value
            return compiled
        await asyncio.sleep(0)


def _steps(source: TemplateSource, *, given: bool) -> Generator[None, None, CompiledTemplate]:
    if not _NAME.fullmatch(plain_name(source.name)):
        raise TemplateError("a template's name is 1 to 81 lower-case letters, digits, dots, dashes and underscores")
    if not source.text:
        raise TemplateError(f"{_label(source, 'text')}: is required")
    parts: dict[str, Engine] = {}
    for part, text in source.parts().items():
        if text is not None:
            parts[part] = yield from _compiled(source, part, text, given=given)
            yield
    return CompiledTemplate(source, parts, source.digest)


def faults(source: TemplateSource) -> Iterator[tuple[str, str]]:
    """Yield the name of each part that does not compile, with the reason and the line of the template."""
    for part, text in source.parts().items():
        if text is not None:
            try:
                for _ in _compiled(source, part, text, given=True):
                    pass
            except TemplateError as error:
                yield part, str(error).removeprefix(f"{_label(source, part)}: ")


def check_plain(data: Mapping[str, Any]) -> JsonObject:
    """Return `data` as a dict. Raises `TemplateError` if it holds anything but plain JSON types.

    A template therefore never gets a Python object whose methods it could call.
    """
    for key, value in data.items():
        _check_plain(key, value, 1)
    return dict(data)


def _check_plain(key: Any, value: Any, depth: int) -> None:
    if type(key) is not str:
        raise TemplateError("data: a key is not a string")
    if depth > DATA_DEPTH_MAX:
        raise TemplateError(f"data: nested deeper than {DATA_DEPTH_MAX}")
    kind = type(value)
    if kind in _SCALARS:
        return
    if kind is dict:
        for inner_key, inner in value.items():
            _check_plain(inner_key, inner, depth + 1)
    elif kind is list:
        for inner in value:
            _check_plain("", inner, depth + 1)
    else:
        raise TemplateError(f"data: {kind.__name__} is not a plain JSON value")


def _compiled(source: TemplateSource, part: str, text: str, *, given: bool) -> Generator[None, None, Engine]:
    if len(text) > SOURCE_CHARS_MAX:
        raise TemplateError(f"{_label(source, part)}: more than {SOURCE_CHARS_MAX} characters")
    try:
        text.encode("utf-8")
        tree = yield from parse(text, given=given)
        if part == "html":
            yield from guard(tree.nodes, given=given)
        if given and part == "subject":
            _check_subject(tree.nodes)
        return Engine(tree, html=part == "html")
    except SyntaxFault as fault:
        raise TemplateError(f"{_label(source, part)}: {fault}") from None
    except UnicodeEncodeError:
        raise TemplateError(f"{_label(source, part)}: is not valid Unicode") from None
    except minijinja.TemplateError as error:
        raise TemplateError(f"{_label(source, part)}: does not compile: {error.message}") from None


def _check_subject(nodes: list[Node]) -> None:
    """Raise `SyntaxFault` if the static text of a subject has a line end or a control character.

    Otherwise every rendering of this template would be refused.
    """
    for node in nodes:
        if isinstance(node, Text) and (found := _HEADER_BREAK.search(node.text)):
            line = node.line + node.text.count("\n", 0, found.start())
            raise SyntaxFault(line, "must not contain a line end or a control character in a subject")
        if isinstance(node, Block):
            for _, body in node.branches:
                _check_subject(body)


def _label(source: TemplateSource, part: str) -> str:
    version = f" version {source.version}" if source.version else ""  # a text that is not stored yet has no version
    return f"template {source.name}{version}, {part}"
