"""The template language: what compiles, and how it is written for the engine.

The engine knows more of Jinja than a template here may use, and a long expression overflows its native stack. So each
tag is read here, checked against the lists below, and written again in one canonical form. The engine therefore never
gets a tag that this module has not understood, and static text can never become a tag.

Rules
-----
1. Only `if`, `for`, `set`, and the filters and tests below compile. There are no calls, macros, imports or blocks.
2. A tag has at most `TAG_TOKENS_MAX` tokens, and blocks nest at most `DEPTH_MAX` deep, because the engine recurses over
   both.
3. A comparison of order accepts two numbers or two texts. A loop accepts only a list. The engine alone would accept any
   value.
4. Some rules only help an author. They are the rules about control characters, about arguments of filters, about
   assignments that a loop forgets after each round, and `TAG_TOKENS`. They are applied to a text that an author submits
   now (`given`). They are not applied to a stored text. An earlier release may have stored it without such a rule, and
   accepted triggers name it, so it must still compile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator

from dispatcher.templates.arguments import Item, ordered
from dispatcher.templates.comparison import compared, split_items
from dispatcher.templates.names import CONSTANTS, KEYWORDS, Scopes, paths
from dispatcher.templates.tree import Block, Node, Print, Statement, SyntaxFault, Text, Tree

TAG_TOKENS_MAX = 400  # the engine's stack has room for some 5,000 on a thread with 8 MiB
TOKENS_MAX = 12_000  # in all tags of a part: some 25 ms
TAG_TOKENS = 3  # a tag takes as long as three tokens, besides its own
TAG_TOKENS_STORED = 1  # the count by which earlier releases stored a text
DEPTH_MAX = 60
BRANCHES_MAX = 200  # the engine nests each `elif`, so a long chain needs much of its stack
DIGITS_MAX = 18
STEP_TAGS = 64  # read between two pauses: some 1 ms

# fmt: off
FILTERS = frozenset((
    "abs", "capitalize", "count", "d", "date", "decimals", "default", "dictsort", "e", "escape", "first", "float",
    "int", "items", "join", "last", "length", "lower", "money", "replace", "round", "string", "title", "trim",
    "truncate", "upper", "urlencode",
))
_OF_TEXTS = frozenset(("capitalize", "lower", "title", "trim", "upper"))  # the engine's filters print a null as NONE
TESTS = frozenset((
    "defined", "undefined", "none", "string", "number", "mapping", "sequence", "boolean", "true", "false", "in",
    "eq", "ne", "lt", "le", "gt", "ge", "odd", "even",
))
# fmt: on
_OPEN = re.compile(r"\{[{%#]")
_TOKEN = re.compile(
    r"""\s+|(?P<name>[^\W\d]\w*)|(?P<number>\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')|(?P<end>[-+]?(?:\}\}|%\}))
    |(?P<op>//|\*\*|==|!=|>=|<=|[-+*/%~|.,:()\[\]<>=])""",
    re.S | re.X,
)
_RAW = re.compile(r"\{%[-+]?\s*raw\s*(-?)%\}(.*?)\{%(-?)\+?\s*endraw\s*([-+]?)%\}", re.S)
_COMMENT = re.compile(r"\{#(-?)(.*?)(-?)#\}", re.S)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
# An `Item` is a token's kind and its canonical text. The kind `group` is a whole bracket that is already written.


def parse(source: str, *, given: bool) -> Generator[None, None, Tree]:
    """Parse `source` and return its tree. The generator pauses often, to let other tasks run.

    `given` is True if an author submits the text now, and False for a text from the store. Raises `SyntaxFault`.
    """
    source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")  # an editor's additions
    if not given:
        source = source.replace("\x00", "")  # `html` needs this character for itself
    reader = _Reader(source.removesuffix("\n"), given=given)
    tags = 0
    while reader.next():
        tags += 1
        if tags % STEP_TAGS == 0:
            yield
    return reader.tree()


class _Reader:
    """Reads a template's source tag by tag and builds the tree.

    `_open` holds the blocks that are not closed yet. `_into` is the list that receives the next node.
    """

    def __init__(self, source: str, *, given: bool) -> None:
        self._given = given
        self._source, self._at, self._line, self._counted = source, 0, 1, 0
        self._root: list[Node] = []
        self._open: list[Block] = []
        self._into = self._root
        self._strip = False  # True if the previous tag ended in a dash
        self._tokens = 0
        self._loops: list[str] = []
        self._scopes = Scopes()
        self._assigned: set[str] = set()

    def tree(self) -> Tree:
        if self._open:
            raise SyntaxFault(self._open[-1].line, f"{self._open[-1].kind} is never closed")
        return Tree(self._root, self._loops, frozenset(self._assigned))

    def next(self) -> bool:
        opening = _OPEN.search(self._source, self._at)
        if opening is None:
            self._text(self._source[self._at :], False)
            return False
        at = opening.start()
        self._text(self._source[self._at : at], self._source.startswith("-", at + 2))
        self._line += self._source.count("\n", self._counted, at)
        self._counted = at
        if opening[0] == "{#":
            self._comment(at)
        elif opening[0] == "{%" and (raw := _RAW.match(self._source, at)) is not None:
            self._strip = bool(raw[1])
            self._text(raw[2], bool(raw[3]))
            self._strip, self._at = raw[4] == "-", raw.end()
        else:
            self._tag(at, "}}" if opening[0] == "{{" else "%}")
        return True

    def _text(self, text: str, strip_end: bool) -> None:
        control = _CONTROL.search(text) if self._given else None
        if control is not None:
            line = self._line + text.count("\n", 0, control.start())
            raise SyntaxFault(line, f"the control character U+{ord(control[0]):04X}")
        if self._strip:
            text = text.lstrip()
        if strip_end:
            text = text.rstrip()
        self._strip = False
        if not text:
            return
        last = self._into[-1] if self._into else None
        if isinstance(last, Text):
            last.text += text
        else:
            self._into.append(Text(text, self._line))

    def _comment(self, at: int) -> None:
        found = _COMMENT.match(self._source, at)
        if found is None:
            raise SyntaxFault(self._line, "a comment is never closed")
        self._strip, self._at = bool(found[3]), found.end()

    def _tag(self, at: int, closing: str) -> None:
        begin = at + 2
        if self._source[begin : begin + 1] in ("-", "+") and self._source[begin : begin + 1]:
            begin += 1
        tokens: list[Item] = []
        where = begin
        while True:
            found = _TOKEN.match(self._source, where)
            if where >= len(self._source):
                raise SyntaxFault(self._line, "unexpected end of the template inside of a tag")
            if found is None:
                raise SyntaxFault(
                    self._line, "a text is never closed, or a tag holds a character that means nothing there"
                )
            kind, where = found.lastgroup, found.end()
            if kind == "end":
                break
            if kind is not None:
                tokens.append((kind, found[0]))
                if len(tokens) > TAG_TOKENS_MAX:
                    raise SyntaxFault(self._line, f"more than {TAG_TOKENS_MAX} words and signs in one tag")
        if not found[0].endswith(closing):
            raise SyntaxFault(self._line, f"a tag ends in {found[0]} instead of {closing}")
        self._tokens += len(tokens) + (TAG_TOKENS if self._given else TAG_TOKENS_STORED)
        if self._tokens > TOKENS_MAX:
            rule = f"more than {TOKENS_MAX} words and signs in all tags, where each tag counts as {TAG_TOKENS} more"
            raise SyntaxFault(self._line, rule)
        self._strip, self._at = found[0].startswith("-"), where
        if closing == "}}":
            code = self._expression(tokens)
            self._into.append(Print(self._shown(begin, found.start()), code, self._line, needs=paths(tokens)))
        else:
            self._statement(tokens, self._shown(begin, found.start()))

    def _shown(self, begin: int, end: int) -> str:
        return " ".join(self._source[begin:end].split())

    def _statement(self, tokens: list[Item], shown: str) -> None:
        tag = tokens[0][1] if tokens else ""
        rest = tokens[1:]
        if tag in ("if", "for"):
            if len(self._open) >= DEPTH_MAX:
                raise SyntaxFault(self._line, f"blocks nest more than {DEPTH_MAX} deep")
            block = Block(tag, self._line, shown=shown, needs=paths(rest))
            self._into.append(block)
            self._open.append(block)
            self._branch(f"if {self._expression(rest)}" if tag == "if" else self._for(rest))
        elif tag == "elif" and self._open and self._open[-1].kind == "if" and not self._open[-1].always:
            if len(self._open[-1].branches) >= BRANCHES_MAX:
                raise SyntaxFault(self._line, f"more than {BRANCHES_MAX} branches in one if")
            self._branch(f"elif {self._expression(rest)}")
        elif tag == "else" and not rest and self._open and not self._open[-1].always:
            self._open[-1].always = True
            self._branch("else")
        elif self._open and tag == f"end{self._open[-1].kind}" and not rest:
            if self._open.pop().kind == "for":
                self._scopes.close()
            self._into = self._open[-1].branches[-1][1] if self._open else self._root
        elif tag == "set":
            self._into.append(Statement(self._set(rest), self._line, shown=shown, needs=paths(rest)))
        else:
            raise self._refused(f"the tag {tag or 'without a name'}")

    def _branch(self, opening: str) -> None:
        self._into = []
        self._open[-1].branches.append((opening, self._into))

    def _for(self, tokens: list[Item]) -> str:
        at = next((i for i, token in enumerate(tokens) if token == ("name", "in")), 0)
        names = self._targets(tokens[:at])
        rest, depth = tokens[at + 1 :], 0
        condition = len(rest)
        for i, (kind, text) in enumerate(rest):
            depth += (kind == "op" and text in "([") - (kind == "op" and text in ")]")
            if depth == 0 and (kind, text) == ("name", "if"):
                condition = i
                break
        if rest and rest[-1] == ("name", "recursive"):
            raise self._refused("a recursive loop")
        if not rest[:condition]:
            raise SyntaxFault(self._line, "a loop needs a list")
        self._loops.append(" ".join(text for _, text in rest[:condition]).replace(" . ", "."))
        code = f"for {', '.join(names)} in ({self._expression(rest[:condition])})|_list({len(self._loops) - 1})"
        self._scopes.open(names)
        return code if condition == len(rest) else f"{code} if {self._expression(rest[condition + 1 :])}"

    def _set(self, tokens: list[Item]) -> str:
        at = next((i for i, token in enumerate(tokens) if token == ("op", "=")), None)
        if at is None:
            raise self._refused("the tag set without an equals sign")
        names, code = self._targets(tokens[:at]), self._expression(tokens[at + 1 :])
        if (lost := self._scopes.assign(names)) is not None and self._given:
            raise SyntaxFault(self._line, f"a loop forgets what it sets after each round, so {lost} never changes")
        return f"set {', '.join(names)} = {code}"

    def _targets(self, tokens: list[Item]) -> list[str]:
        names = tokens[0::2]
        if not names or len(tokens) % 2 == 0 or any(token != ("op", ",") for token in tokens[1::2]):
            raise SyntaxFault(self._line, "only plain names can be set")
        if any(kind != "name" or text in KEYWORDS or text in CONSTANTS or text == "loop" for kind, text in names):
            raise SyntaxFault(self._line, "only plain names can be set")
        self._assigned.update(text for _, text in names)
        return [text for _, text in names]

    # ---- expressions

    def _expression(self, tokens: list[Item]) -> str:
        """Check the tokens of one expression, and return the expression in the form that the engine gets.

        In this form, the operands of most comparisons, and of the operators `+`, `*` and `~`, go through our filters
        (`dispatcher.templates.comparison`). Raises `SyntaxFault` if the expression is empty, if a bracket does not have
        its partner, or if the expression uses something that templates may not use.
        """
        if not tokens:
            raise SyntaxFault(self._line, "an expression is empty")
        self._scopes.read(tokens)
        levels: list[tuple[str, list[Item]]] = [("", [])]
        for i, (kind, text) in enumerate(tokens):
            items = levels[-1][1]
            if kind == "op" and text in "([":
                levels.append((self._bracket(text, items), []))
            elif kind == "op" and text in ")]":
                role, inside = levels.pop()
                if not levels or (role in ("list", "index")) != (text == "]"):
                    raise SyntaxFault(self._line, f"{text} closes nothing")
                levels[-1][1].append(("group", self._group(role, inside, levels[-1][1])))
            else:
                self._plain(kind, text, items)
                if items[-1] == ("filter", text) and tokens[i + 1 : i + 2] != [("op", "(")]:
                    self._arguments(text, [])
        if len(levels) > 1:
            raise SyntaxFault(self._line, "a bracket is never closed")
        if any(item == ("op", ",") or item == ("op", "=") for item in levels[0][1]):
            raise self._refused("a list of anything but constants")
        return compared(levels[0][1])

    def _bracket(self, text: str, items: list[Item]) -> str:
        before = items[-1] if items else ("", "")
        operand = before[0] in ("string", "number", "group", "attribute") or (
            before[0] == "name" and before[1] not in KEYWORDS
        )
        if text == "[":
            return "index" if operand or before[0] in ("filter", "test") else "list"
        if before[0] in ("filter", "test"):
            return "arguments"
        if operand:
            raise self._refused("Call")
        return "parentheses"

    def _group(self, role: str, items: list[Item], outside: list[Item]) -> str:
        if role == "arguments":
            kind, name = outside[-1]
            return self._arguments(name, items) if kind == "filter" else f"({self._separated(items, ',')})"
        if role == "index":
            if len(items) == 1 and items[0][0] in ("string", "number"):
                return f"[{items[0][1]}]"
            return f"[{self._separated(items, ':', '_index')}]"
        tuple_like = role == "list" or not items or ("op", ",") in items
        if tuple_like:
            constant = all(
                kind in ("string", "number") or text in CONSTANTS or (kind, text) == ("op", ",") for kind, text in items
            )
            if not constant:
                raise self._refused("a list of anything but constants")
            return f"[{''.join(text for _, text in items)}]"
        return f"({compared(items)})"

    def _arguments(self, name: str, items: list[Item]) -> str:
        arguments = split_items(items, ",") if items else []
        try:
            if [] in arguments:
                raise ValueError(f"the filter {name} has an empty argument")
            arguments = ordered(name, arguments)
        except ValueError as error:
            if self._given:
                raise SyntaxFault(self._line, str(error)) from None
        return f"({','.join(map(compared, arguments))})"

    def _separated(self, items: list[Item], separator: str, through: str = "") -> str:
        written = [compared(part) for part in split_items(items, separator)]
        return separator.join(f"({part})|{through}" if through and part else part for part in written)

    def _plain(self, kind: str, text: str, items: list[Item]) -> None:
        before = items[-1] if items else ("", "")
        if before == ("op", "."):
            if kind == "number":
                items[-1:] = [("group", "".join(f"[{int(part)}]" for part in text.split(".")))]
                return
            if kind != "name":
                raise SyntaxFault(self._line, "a name must follow a dot")
            items.append(("attribute", text))
        elif kind == "name":
            found = self._name_kind(text, items)
            if found == "filter" and text in _OF_TEXTS:
                items += [("filter", "_text"), ("op", "|")]
            items.append((found, text))
        elif kind == "number":
            items.append((kind, self._number(text)))
        elif kind == "string":
            items.append((kind, self._string(text)))
        elif text == "**":
            raise self._refused("**")
        else:
            items.append((kind, text))

    def _name_kind(self, text: str, items: list[Item]) -> str:
        before = items[-1] if items else ("", "")
        if before == ("op", "|"):
            if text not in FILTERS:
                raise self._refused(f"the filter {text}")
            return "filter"
        negated = before == ("name", "not") and items[-2:-1] == [("name", "is")]
        if (before == ("name", "is") and text != "not") or negated:
            if text not in TESTS and text not in CONSTANTS:
                raise self._refused(f"the test {text}")
            return "test"
        if text == "self" or text.startswith("_"):
            raise self._refused(f"the name {text if text == 'self' else 'with an underscore at its start'}")
        return "name"

    def _number(self, text: str) -> str:
        digits = text.replace("_", "")
        if len(digits.split(".")[0].split("e")[0].split("E")[0]) > DIGITS_MAX or len(digits) > 40:
            raise SyntaxFault(self._line, f"a number has more than {DIGITS_MAX} digits")
        return digits

    def _string(self, text: str) -> str:
        try:
            value = text[1:-1].encode("ascii", "backslashreplace").decode("unicode-escape")
            value.encode("utf-8")
            if self._given and _CONTROL.search(value):
                raise ValueError
        except ValueError:
            raise SyntaxFault(self._line, "a text holds a broken escape or a control character") from None
        return json.dumps(value, ensure_ascii=False)

    def _refused(self, what: str) -> SyntaxFault:
        return SyntaxFault(self._line, f"{what} is not available in templates")
