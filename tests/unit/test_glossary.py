"""A name in the code may contain a word of the glossary only where the code means what the glossary says.

Seven words had up to seven meanings each, and a newcomer could not know which was meant. Prose is not checked here,
because a sentence shows which meaning it uses and a name does not.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Mapping

import pytest

from tests.unit.sources import ROOT

TREES = ("dispatcher", "actors", "serve_app", "cluster", "benchmarks")
ARCHITECTURE = ROOT / "docs/architecture.md"

FORMS: Mapping[str, frozenset[str]] = {
    "held": frozenset({"held"}),
    "take": frozenset({"take", "takes", "took", "taken", "taking"}),
    "sweep": frozenset({"sweep", "sweeps", "swept", "sweeping"}),
    "judge": frozenset({"judge", "judges", "judged", "judging"}),
    "settle": frozenset({"settle", "settles", "settled", "settling"}),
    "word": frozenset({"word", "words"}),
}

WHERE: Mapping[str, tuple[str, ...]] = {
    "held": (
        "benchmarks/drill_table.py",
        "benchmarks/process_faults.py",
        "cluster/rehearsal/drills/",
        "dispatcher/adapters/memory/",
        "dispatcher/adapters/redis/",
        "dispatcher/core/life/",
        "dispatcher/deliver/maintenance.py",
        "dispatcher/deliver/status_lookups.py",
        "dispatcher/ports/",
    ),
    "take": (
        "actors/assembly.py",
        "dispatcher/adapters/memory/store.py",
        "dispatcher/adapters/redis/store.py",
        "dispatcher/config/settings.py",
        "dispatcher/deliver/",
        "dispatcher/ports/store.py",
    ),
    "sweep": ("dispatcher/deliver/maintenance.py",),
    "judge": ("benchmarks/", "cluster/rehearsal/"),
    "settle": (
        "actors/assembly.py",
        "benchmarks/",
        "cluster/rehearsal/drills/play.py",
        "dispatcher/adapters/memory/store.py",
        "dispatcher/adapters/redis/script_values.py",
        "dispatcher/adapters/redis/store.py",
        "dispatcher/config/settings.py",
        "dispatcher/core/life/",
        "dispatcher/deliver/",
        "serve_app/applications.py",
    ),
    "word": (
        "dispatcher/adapters/memory/store.py",
        "dispatcher/adapters/redis/store.py",
        "dispatcher/adapters/providers/",
        "dispatcher/core/life/",
        "dispatcher/deliver/late_successes.py",
        "dispatcher/deliver/permits.py",
        "dispatcher/deliver/status_lookups.py",
        "dispatcher/operate/receipts.py",
        "dispatcher/ports/store.py",
    ),
}
"""The files and folders in which a name may contain the word. Inside them only a reader can find another meaning."""

EXEMPT = {
    ("dispatcher/core/life/notification.py", "took_ms"): "a field of the stored attempt and of the interface",
    ("dispatcher/wire/records.py", "took_ms"): "the same",
    ("cluster/api_answers.py", "held"): "a field of the interface: the mailbox has no drainer",
    ("dispatcher/core/life/mail.py", "_encoded_words"): "RFC 2047 calls them so",
    ("dispatcher/core/life/mail.py", "words"): "the same",
    ("dispatcher/core/life/mail.py", "word"): "the same",
}


def _strangers(name: str, source: str) -> Iterator[str]:
    """Yield a line for each name in a file that uses a word of the glossary outside the files in which the word
    belongs.

    `WHERE` lists these files for each word.
    """
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.NAME or (name, token.string) in EXEMPT:
            continue
        parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", token.string)}
        for word, forms in FORMS.items():
            if parts & forms and not name.startswith(WHERE[word]):
                yield f"{name}:{token.start[0]}: {token.string} ({word})"


def _glossary() -> dict[str, tuple[str, str]]:
    """Return the meaning and the file of each word in the glossary."""
    text = ARCHITECTURE.read_text().partition("## Glossary")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {word: (meaning, where.strip("`")) for word, meaning, where in rows[2:]}


@pytest.mark.parametrize("tree", TREES)
def test_a_word_of_the_glossary_has_its_meaning_only(tree: str) -> None:
    """In each source tree, words of the glossary occur in names only in the files that `WHERE` lists for them."""
    files = sorted((ROOT / tree).rglob("*.py"))
    assert [line for f in files for line in _strangers(str(f.relative_to(ROOT)), f.read_text())] == []


def test_one_class_is_called_state() -> None:
    """Exactly one class is called `State`: where a notification is in its life. Any other class has a longer name."""
    files = [f for tree in TREES for f in sorted((ROOT / tree).rglob("*.py"))]
    found = [str(f.relative_to(ROOT)) for f in files if re.search(r"^class State\b", f.read_text(), re.MULTILINE)]
    assert found == ["dispatcher/core/life/notification.py"]


def test_the_glossary_names_each_of_them_and_where_it_lives() -> None:
    """Every word that this file checks is in the glossary, and each file that the glossary names exists."""
    glossary = _glossary()
    assert {*FORMS, "state"} <= set(glossary)
    assert [where for _, where in glossary.values() if not (ROOT / where).is_file()] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("took_s = 1", 1),
        ("plan.held", 1),
        ("def _judge_sms(): ...", 1),
        ("class Swept: ...", 1),
        ("for words in lines: ...", 1),
        ("permit.settled = True", 1),
        ("mistake = unsettled = 'held'  # a word", 0),
    ],
)
def test_the_check_reads_names(source: str, found: int) -> None:
    """The check finds words in names, and not inside longer words, texts or comments."""
    assert len(list(_strangers("cluster/deploy.py", source + "\n"))) == found


def test_each_place_and_each_exemption_is_needed() -> None:
    """Each place in `WHERE` and each exemption is still used, so that an unused entry cannot hide a later wrong
    name.
    """
    for word, places in WHERE.items():
        for place in places:
            path = ROOT / place
            files = [path] if path.is_file() else path.rglob("*.py")
            assert any(re.search("|".join(FORMS[word]), f.read_text(), re.IGNORECASE) for f in files), (word, place)
    for name, own in EXEMPT:
        assert own in (ROOT / name).read_text()
