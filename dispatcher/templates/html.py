"""Finds where in an HTML part each expression stands, and whether escaping makes it safe there.

Escaping makes an expression safe in text and inside a quoted attribute. Escaping is not enough at the start of a URL
(`javascript:…`), in an unquoted attribute, inside a tag, in an event handler, a style or a script. An expression at the
start of a URL is checked when it is rendered. With an expression at any other unsafe place the template does not
compile.

Rules:

1. The reader follows the tokenizer of the HTML standard (13.2.5), as far as it decides where an expression stands.
2. A template has branches, so a place is a *set* of states. Each branch is read separately. The text after a block is
   read in every state in which a branch may end. A loop may run never, once or again. An expression must be safe in all
   states of its place.
3. Some mail programs read `<!--[if …]>` as HTML, and some read it as a comment, so both states are followed. The text
   of a title is followed in two states as well.
"""

from __future__ import annotations

import html
import re
from collections.abc import Generator
from dataclasses import dataclass, replace

from dispatcher.templates.tree import Block, Node, Print, SyntaxFault, Text

URL_SCHEMES = ("http", "https", "mailto", "tel", "cid")
STATES_MAX = 16  # ordinary templates need one or two
STEPS_MAX = 8_000  # some 25 ms; 100 KB of ordinary HTML take 2,000
STEPS_MAX_STORED = 144_000  # earlier releases stored up to 18,000 steps, of which each may count `WHOLE_STEPS` now
WHOLE_STEPS = 8  # the steps of up to 64 tags that are read at once
STEP_PAUSE = 1_000  # some 2 ms
# fmt: off
_URL_ATTRIBUTES = frozenset((
    "href", "src", "action", "formaction", "poster", "background", "cite", "data", "xlink:href", "longdesc", "usemap",
    "codebase", "classid", "archive", "profile", "manifest", "dynsrc", "lowsrc", "ping", "srcset", "imagesrcset",
    "to", "from", "by", "values", "icon",
))
# fmt: on
_RAW_TEXT = frozenset(("script", "style", "xmp", "iframe", "noembed", "noframes", "plaintext"))
_TITLES = frozenset(("title", "textarea"))
_NO_EXPRESSION = ("style", "srcdoc", "attributename", "http-equiv")
_SCHEME = re.compile(r"([^/?#:]*):")
_EXPRESSION = "\x00"  # stands for an expression in the text of a URL; a template cannot hold this character


def safe_url(value: str) -> None:
    """Raise ValueError if `value` is an absolute URL whose scheme is not allowed.

    The error's text does not show the value.
    """
    text = "".join(c for c in value if c > " " and c != "\x7f").lower()  # browsers ignore these characters in a scheme
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1] not in URL_SCHEMES:
        raise ValueError(f"a URL must be relative or of one of the schemes {', '.join(URL_SCHEMES)}")


@dataclass(frozen=True, slots=True)
class HtmlState:
    """A state of the HTML tokenizer: the kind of place, and what must be known of the current tag."""

    kind: str = "data"
    tag: str = ""  # the name of the open tag, or of the element in raw text
    attribute: str = ""
    url: str = ""  # the text of a URL so far, "/" when its scheme is known
    meta: frozenset[str] = frozenset()  # for a meta tag: whether it is a refresh, or has an expression in `content`


_DATA = HtmlState()
# What may come next in each state. The name of the group, or the first character, decides.
_IN_DATA = re.compile(
    r"[^<]+|<(?P<comment>!--)|<(?P<bogus>[!?])|<(?P<end>/)(?=[A-Za-z])|<(?P<open>(?=[A-Za-z]))|<(?P<other>/?)"
)
# Up to 64 whole ordinary tags and the text after them. They are read at once, because they do not change the state.
_WHOLE_TAGS = re.compile(
    r"(?:</?(?!script|style|xmp|iframe|noembed|noframes|plaintext|title|textarea|meta)[a-z][a-z0-9]*"
    r"(?:\s+[a-z-]+=(?:\"[^\"]*\"|'[^']*'))*\s*/?>[^<]*){1,64}",
    re.I,
)
_TAG_NAME = re.compile(r"[^\s/>]+")
_BEFORE_NAME = re.compile(r"[\s/]+|(?P<close>>)|(?P<name>=?[^\s/>=]*)")
_AFTER_NAME = re.compile(r"\s+|(?P<equals>=)|(?P<other>(?=[^\s=]))")
_BEFORE_VALUE = re.compile(r"\s+|(?P<quote>[\"'])|(?P<close>>)|(?P<value>(?=[^\s\"'>]))")
_UNQUOTED = re.compile(r"[^\s>]+|(?P<end>\s)|(?P<close>>)")
_NAME_END = re.compile(r"[^\s/>=]+")
_COMMENT_END = re.compile(r"--!?>|\A-?>")
_CONDITION = re.compile(r"\[if[^\]>]*\]>", re.I)


class HtmlReader:
    """Reads the static HTML of a template, and checks the expressions that stand between its pieces.

    `states` are all states that are possible after the text that was read. At most `steps_max` steps are read.
    """

    def __init__(self, steps_max: int) -> None:
        self.states = frozenset((_DATA,))
        self._steps_max = steps_max
        self.steps = 0

    def feed(self, text: str, line: int) -> Generator[None, None, None]:
        """Read the static `text`, which begins at `line` of the template.

        The generator pauses often, to let other tasks run.

        Raises `SyntaxFault` if an earlier expression would be part of a URL's scheme, or part of the `content` of a
        meta tag that is a `refresh`. Also raises it if a limit is exceeded.
        """
        after: set[HtmlState] = set()
        pause = self.steps + STEP_PAUSE
        # (state, where it goes on); one state may become two
        pending = [(state, 0) for state in self.states]
        while pending:
            state, at = pending.pop()
            while at < len(text):
                self.steps += WHOLE_STEPS if state.kind == "data" else 1
                if self.steps >= pause:
                    pause = self.steps + STEP_PAUSE
                    if self.steps > self._steps_max:
                        raise SyntaxFault(line, f"more than {self._steps_max} tags and attributes")
                    yield
                state, at, also = _step(state, text, at)
                if also is not None:
                    pending.append((also, at))
                if state.kind == "scheme":
                    raise SyntaxFault(line, "an expression that makes a URL's scheme is not available in templates")
                if state.kind == "refresh":
                    raise SyntaxFault(line, "an expression in the content of a refresh is not available in templates")
            after.add(state)
            if len(after) > STATES_MAX or len(pending) > STATES_MAX:
                raise SyntaxFault(line, "its branches leave the HTML in too many different places")
        self.states = frozenset(after)

    def expression(self, line: int) -> bool:
        """Check an expression that stands directly behind the HTML that was read so far.

        Return True if the value of the expression must be checked as a URL when it is rendered. Raises `SyntaxFault` if
        no escaping could make an expression safe at this place.
        """
        guarded = [self._expression(state, line) for state in self.states]
        self.states = frozenset(state for state, _ in guarded)
        return any(guard for _, guard in guarded)

    def _expression(self, state: HtmlState, line: int) -> tuple[HtmlState, bool]:
        kind = state.kind
        if kind in ("data", "title", "bogus"):
            return state, False
        if kind == "comment":
            if not state.url or state.url.endswith(("-", "-!")):
                raise SyntaxFault(line, "an expression at the dashes of a comment is not available in templates")
            return state, False
        if kind == "raw":
            raise SyntaxFault(line, f"an expression inside of <{state.tag}> is not available in templates")
        if kind in ("less", "tagname"):
            raise SyntaxFault(line, "an expression that names a tag is not available in templates")
        if kind not in ("'", '"'):
            raise SyntaxFault(line, "an expression inside of a tag must be in a quoted attribute")
        attribute = state.attribute
        if attribute.startswith("on") or attribute in _NO_EXPRESSION or state.tag == "script":
            raise SyntaxFault(line, f"an expression in the attribute {attribute} is not available in templates")
        if state.tag == "meta" and attribute == "content":
            if "refresh" in state.meta:
                raise SyntaxFault(line, "an expression in the content of a refresh is not available in templates")
            return replace(state, meta=state.meta | {"expression"}), False
        if attribute not in _URL_ATTRIBUTES or state.url == "/":
            return state, False
        if _scheme(state.url) == "bad":
            raise SyntaxFault(line, "an expression in a URL of that scheme is not available in templates")
        return replace(state, url=state.url.rstrip(_EXPRESSION) + _EXPRESSION), True


def _step(state: HtmlState, text: str, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    """Advance the tokenizer by one step from the position `at`.

    Return the new state, the next position, and a second possible state or None.
    """
    match state.kind:
        case "data":
            return _data(state, text, at)
        case "tagname":
            return _tag_name(state, text, at)
        case "name" | "attribute" | "named":
            return _attribute(state, text, at)
        case "value":
            return _before_value(state, text, at)
        case "'" | '"':
            return _quoted(state, text, at)
        case "unquoted":
            return _unquoted(state, text, at)
        case _:
            return _outside(state, text, at)


def _tag_name(state: HtmlState, text: str, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    more = _TAG_NAME.match(text, at)
    if more is not None:
        return replace(state, tag=state.tag + more[0].lower()), more.end(), None
    return replace(state, kind="name"), at, None


def _attribute(state: HtmlState, text: str, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    """Read on from `at` before, in or after the name of an attribute.

    Return the state that follows, the position that was reached, and a second possible state or None.
    """
    if state.kind == "name":
        match = _BEFORE_NAME.match(text, at)
        assert match is not None
        if match["close"]:
            return _closed(state, match.end())
        if match["name"]:
            return replace(state, kind="attribute", attribute=match["name"].lower()), match.end(), None
        return state, match.end(), None
    if state.kind == "attribute":  # the next piece of text may continue the name
        more = _NAME_END.match(text, at)
        if more is not None:
            return replace(state, attribute=state.attribute + more[0].lower()), more.end(), None
        return replace(state, kind="named"), at, None
    match = _AFTER_NAME.match(text, at)
    assert match is not None
    if match["equals"]:
        return replace(state, kind="value", url=""), match.end(), None
    return (replace(state, kind="name") if match["other"] is not None else state), match.end(), None


def _before_value(state: HtmlState, text: str, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    match = _BEFORE_VALUE.match(text, at)
    assert match is not None
    if match["quote"]:
        return replace(state, kind=match["quote"]), match.end(), None
    if match["close"]:
        return _closed(state, match.end())
    return (replace(state, kind="unquoted") if match["value"] is not None else state), match.end(), None


def _data(state: HtmlState, text: str, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    whole = _WHOLE_TAGS.match(text, at)
    if whole is not None:
        return state, whole.end(), None
    match = _IN_DATA.match(text, at)
    assert match is not None
    end = match.end()
    if match["comment"]:
        condition = _CONDITION.match(text, end)
        return HtmlState("comment"), end, (_DATA if condition else None)
    if match["bogus"]:
        return HtmlState("bogus" if end < len(text) or match["bogus"] == "?" else "less", "!"), end, None
    if match["end"]:
        return HtmlState("tagname", "/"), end, None
    if match["open"] is not None:
        return HtmlState("tagname"), end, None
    if match["other"] is not None and end == len(text):
        return HtmlState("less", match["other"]), end, None
    return state, end, None


def _quoted(state: HtmlState, text: str, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    end = text.find(state.kind, at)
    value = text[at:] if end < 0 else text[at:end]
    if state.attribute in _URL_ATTRIBUTES and state.url != "/":
        url = state.url + value[:256]  # if the scheme is not known by then, expressions stay guarded
        scheme = _scheme(url)
        if scheme == "made":
            return HtmlState("scheme"), at, None
        state = replace(state, url="/" if scheme == "good" else url[:64])
    elif state.tag == "meta" and state.attribute == "http-equiv":
        state = replace(state, url=(state.url + value)[:64])
    if end < 0:
        return state, len(text), None
    meta = state.meta
    if state.tag == "meta" and state.attribute == "http-equiv" and "refresh" in html.unescape(state.url).lower():
        meta = meta | {"refresh"}
        if "expression" in meta:
            return HtmlState("refresh"), at, None
    return HtmlState("name", state.tag, meta=meta), end + 1, None


def _unquoted(state: HtmlState, text: str, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    match = _UNQUOTED.match(text, at)
    assert match is not None
    if match["close"]:
        return _closed(state, match.end())
    if match["end"]:
        return HtmlState("name", state.tag, meta=state.meta), match.end(), None
    if state.tag == "meta" and state.attribute == "http-equiv":
        if "expression" in state.meta:
            return HtmlState("refresh"), at, None
        return replace(state, meta=state.meta | {"refresh"}), match.end(), None
    return state, match.end(), None


def _closed(state: HtmlState, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    """Return the state after the end of a tag, where the content of its element begins.

    The result has three parts: the new state, the next position, and a second possible state or None.
    """
    if state.tag in _RAW_TEXT:
        return HtmlState("raw", state.tag), at, None
    if state.tag in _TITLES:
        return HtmlState("title", state.tag), at, _DATA
    return _DATA, at, None


def _outside(state: HtmlState, text: str, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    """Advance the tokenizer by one step outside of a tag: in a comment, a doctype, raw text or a title, or directly
    after a `<` that ended the previous text.

    Return the same kind of result as `_step`.
    """
    if state.kind in ("raw", "title"):
        # `url` holds the part of the end tag that the previous piece of text ended with.
        whole = state.url + text[at:]
        found = re.compile(rf"</{state.tag}(?=[\s/>])", re.I).search(whole)
        if found is None:
            return replace(state, url=whole[-len(state.tag) - 2 :]), len(text), None
        return HtmlState("name", f"/{state.tag}"), at + found.end() - len(state.url), None
    if state.kind == "comment":
        whole = state.url + text[at:]
        found = _COMMENT_END.search(whole)
        if found is None:
            # The dot keeps the next piece from reading `->` as the comment's beginning.
            return replace(state, url=whole if len(whole) < 4 else f".{whole[-3:]}"), len(text), None
        return _DATA, at + max(found.end() - len(state.url), 0), None
    if state.kind == "less":
        return _less(state, text, at)
    end = text.find(">", at)  # a bogus comment, or a doctype
    return (state, len(text), None) if end < 0 else (_DATA, end + 1, None)


def _less(state: HtmlState, text: str, at: int) -> tuple[HtmlState, int, HtmlState | None]:
    """Advance by one step at the start of a tag or a declaration: the text before ended in `<`, `</` or `<!`.

    The result has the form of that of `_step`.
    """
    first = text[at]
    if state.tag == "!":
        if first == "-":
            return HtmlState("comment" if text.startswith("--", at) else "bogus"), at + 1, None
        return HtmlState("bogus"), at, None
    if first.isascii() and first.isalpha():
        return HtmlState("tagname", state.tag), at, None
    if state.tag == "/":
        return (_DATA, at + 1, None) if first == ">" else (HtmlState("bogus"), at, None)
    if first in "!?":
        return HtmlState("less", "!") if first == "!" else HtmlState("bogus"), at + 1, None
    return (HtmlState("less", "/"), at + 1, None) if first == "/" else (_DATA, at, None)


def _scheme(url: str) -> str:
    """Return what is known of the scheme of a URL, if `url` is the beginning of the URL.

    `good` means that the URL has no scheme or an allowed scheme. `bad` means a scheme that is not allowed. `made` means
    that an expression is part of the scheme. An empty text means that the beginning is too short to decide.
    """
    text = "".join(c for c in html.unescape(url) if c > " " or c == _EXPRESSION).lower()
    scheme = _SCHEME.match(text)
    if scheme is not None:
        if _EXPRESSION in scheme[1]:
            return "made"
        return "good" if scheme[1] in URL_SCHEMES else "bad"
    return "good" if re.search(r"[/?#]", text) else ""


def guard(nodes: list[Node], *, given: bool) -> Generator[None, None, None]:
    """Check all expressions in `nodes`, and mark each that may start a URL.

    `given` is True if an author submits the text now. A text from the store may need more steps (`STEPS_MAX_STORED`),
    but its expressions are checked in the same way. The generator pauses often, to let other tasks run.

    Raises `SyntaxFault` for an expression at a place where no escaping makes it safe.
    """
    return _guard(nodes, HtmlReader(STEPS_MAX if given else STEPS_MAX_STORED))


def _guard(nodes: list[Node], reader: HtmlReader) -> Generator[None, None, None]:
    for node in nodes:
        if isinstance(node, Text):
            yield from reader.feed(node.text, node.line)
        elif isinstance(node, Print):
            node.url = reader.expression(node.line) or node.url
        elif isinstance(node, Block):
            yield from _guard_block(node, reader)


def _guard_block(block: Block, reader: HtmlReader) -> Generator[None, None, None]:
    before = reader.states
    after: frozenset[HtmlState] = frozenset() if block.always else before
    for opening, body in block.branches:
        reader.states = before
        while True:
            yield from _guard(body, reader)
            after |= reader.states
            again = reader.states - before
            if not opening.startswith("for") or not again:
                break
            before |= again  # the next round begins in the states in which the body ended
            reader.states = before
            if len(before) > STATES_MAX:
                raise SyntaxFault(block.line, "its loop leaves the HTML in too many different places")
        if len(after) > STATES_MAX:
            raise SyntaxFault(block.line, "its branches leave the HTML in too many different places")
    reader.states = after
