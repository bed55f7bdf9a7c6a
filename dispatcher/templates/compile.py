"""Source in, something that renders out; every way in which that fails is a `TemplateError`.

A template error is permanent for the notification that met it, and its neighbours never notice. Its message names the
template, the part, and a variable or a line of the template; never a value, which could be an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError

from dispatcher.errors import TemplateError
from dispatcher.templates.html import guard_urls, safe_url
from dispatcher.templates.sandbox import BUDGET_KEY, LOOP_BUDGET, Restrict, Sandbox
from dispatcher.templates.source import TemplateSource

SOURCE_CHARS_MAX = 262_144  # of one part; mail programs cut HTML at 100 KiB
OUTPUT_BYTES_MAX = {"subject": 998, "text": 65_536, "html": 262_144}  # a header line's limit; then the wire's own
DATA_DEPTH_MAX = 32  # twice what the wire lets in

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")
# Mail headers end at any of these somewhere on the way.
_HEADER_BREAK = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SCALARS = frozenset((str, int, float, bool, type(None)))

_TEXT = Sandbox(autoescape=False)
_HTML = Sandbox(autoescape=True)
_HTML.filters[" url"] = safe_url


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message's parts. `subject` and `html` are None when the template has none."""

    subject: str | None
    text: str
    html: str | None


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """One immutable version, ready to render."""

    source: TemplateSource
    parts: Mapping[str, jinja2.Template]

    def render(self, data: Mapping[str, Any], locale: str | None = None) -> Rendered:
        """The message for this data. Variables are the keys of `data`, and `locale` when there is one.

        Errors: `TemplateError` when a variable is missing, `data` holds anything but plain JSON values, a subject
        would break its header, or a bound is met.
        """
        plain = check_plain(data)
        if locale is not None:
            plain = {"locale": locale, **plain}
        done = {part: self._part(part, template, plain) for part, template in self.parts.items()}
        subject = done.get("subject")
        if subject is not None and _HEADER_BREAK.search(subject):
            raise TemplateError(f"{_label(self.source, 'subject')}: a line end or control character in the subject")
        return Rendered(subject, done["text"], done.get("html"))

    def _part(self, part: str, template: jinja2.Template, data: dict[str, Any]) -> str:
        pieces: list[str] = []
        left = OUTPUT_BYTES_MAX[part]
        try:
            for piece in template.generate({**data, BUDGET_KEY: [LOOP_BUDGET]}):
                left -= len(piece) if piece.isascii() else len(piece.encode("utf-8"))
                if left < 0:
                    raise SecurityError(f"more than {OUTPUT_BYTES_MAX[part]} bytes")
                pieces.append(piece)
        except (SecurityError, UndefinedError) as error:  # the message is ours: sandbox.py, html.py
            raise TemplateError(f"{_label(self.source, part)}: {error.message}") from None
        except MemoryError:  # this process has none; bounds keep a template from using it up
            raise
        except Exception as error:  # a filter met a value it cannot take; its message could show it
            raise TemplateError(f"{_label(self.source, part)}: {type(error).__name__}") from None
        return "".join(pieces)


def compile_template(source: TemplateSource) -> CompiledTemplate:
    """Errors: `TemplateError` naming the part and the line."""
    if not _NAME.fullmatch(source.name):
        raise TemplateError("a template's name is 1 to 81 lower-case letters, digits, dots, dashes and underscores")
    if not source.text:
        raise TemplateError(f"{_label(source, 'text')}: is required")
    return CompiledTemplate(
        source, {part: _compiled(source, part, text) for part, text in source.parts().items() if text is not None}
    )


def faults(source: TemplateSource) -> Iterator[tuple[str, str]]:
    """What keeps each part from compiling: its name, and why, with the line of the template."""
    for part, text in source.parts().items():
        if text is not None:
            try:
                _compiled(source, part, text)
            except TemplateError as error:
                yield part, str(error).removeprefix(f"{_label(source, part)}: ")


def check_plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` as a dict, sure to hold exact JSON types only: a template never meets an object with methods of ours."""
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


def _compiled(source: TemplateSource, part: str, text: str) -> jinja2.Template:
    environment = _HTML if part == "html" else _TEXT
    if len(text) > SOURCE_CHARS_MAX:
        raise TemplateError(f"{_label(source, part)}: more than {SOURCE_CHARS_MAX} characters")
    try:
        tree = Restrict().visit(environment.parse(text))
        if part == "html":
            guard_urls(tree)
        tree.set_environment(environment)
        return environment.from_string(tree)
    except TemplateSyntaxError as error:
        raise TemplateError(f"{_label(source, part)}: line {error.lineno}: {error.message}") from None
    except SecurityError as error:
        raise TemplateError(f"{_label(source, part)}: {error.message}") from None
    except MemoryError:
        raise
    except Exception as error:  # nested beyond what the parser or Python's compiler can hold
        raise TemplateError(f"{_label(source, part)}: does not compile: {type(error).__name__}") from None


def _label(source: TemplateSource, part: str) -> str:
    return f"template {source.name} version {source.version}, {part}"
