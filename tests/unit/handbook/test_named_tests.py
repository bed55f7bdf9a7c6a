"""Each test that a document names exists. Otherwise a table of faults would promise what no test checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from handbook import links, named_tests

TESTS = named_tests.known()
BY_WORDS = ("faults.md", "outside.md")
SOME = {"contract/test_caps.py": {"test_it_holds_for_an_hour"}, "unit/core/test_caps.py": {"test_other"}}


@pytest.mark.parametrize("path", links.documents(), ids=lambda path: str(path.relative_to(links.ROOT)))
def test_every_file_that_is_named_exists(path: Path) -> None:
    assert list(named_tests.missing_files(path.read_text(), TESTS)) == []


@pytest.mark.parametrize("name", BY_WORDS)
def test_every_test_that_is_named_by_its_words_exists(name: str) -> None:
    assert list(named_tests.missing_words((links.ROOT / "docs" / name).read_text(), TESTS)) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`contract/test_caps.py`, `test_caps.py`, `tests/unit/core/test_caps.py`", []),
        ("`test_caps.py::test_it_holds_for_an_hour`, `test_caps.py::test_it_holds…`", []),
        ("`test_gone.py`", ["test_gone.py does not exist"]),
        ("`serve/test_caps.py`", ["serve/test_caps.py does not exist"]),
        ("`test_caps.py::test_it_holds`", ["test_caps.py has no test_it_holds"]),
        ("`contract/test_caps.py::test_other`", ["contract/test_caps.py has no test_other"]),
    ],
)
def test_a_file_or_a_test_that_is_gone_is_found(text: str, found: list[str]) -> None:
    assert list(named_tests.missing_files(text, SOME)) == found


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("kills: `it_holds…`, `…an_hour`; drill `vendor-flap`; `core/x.py`", []),
        ("`it_holds_for_an_hour[sms-a]`", []),
        ("`it_holds`", ["no test is called it_holds"]),
        ("`it_held…`", ["no test is called it_held…"]),
    ],
)
def test_words_that_no_test_has_are_found(column: str, found: list[str]) -> None:
    assert list(named_tests.missing_words(f"| fault | `not_looked_at` | {column} |", SOME)) == found
