"""Finds names of tests in the documents to which no test belongs.

A document names a file (`contract/test_caps.py`, or its last part alone), a test in a file
(`test_caps.py::test_it_holds`), or a test by the words of its name, without `test_`. A `…` stands for words that are
left out at the beginning or at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from handbook.links import ROOT

TESTS = ROOT / "tests"
FILE = re.compile(r"`([\w/]*test_\w+\.py)(?:::(\w+)(…)?)?(?:\[[^`]*\])?`")
WORDS = re.compile(r"`(…?)((?!test_)[a-z0-9]+(?:_[a-z0-9]+)+)(…?)(?:\[[\w-]+\])?`")
TEST = re.compile(r"^ *(?:async )?def (test_\w+)\(", re.MULTILINE)
SHOWN_BY = re.compile(r"\|([^|]*)\|\s*$")


def known(folder: Path = TESTS) -> dict[str, set[str]]:
    """Return the names of the tests in each test file. A file's key is its path below `folder`."""
    return {
        path.relative_to(folder).as_posix(): set(TEST.findall(path.read_text())) for path in folder.rglob("test_*.py")
    }


def missing_files(text: str, tests: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield a line for each named file that does not exist, and for each named test that its file does not have."""
    for name, test, cut in FILE.findall(text):
        relative = name.removeprefix("tests/")
        files = [path for path in tests if path == relative or path.endswith("/" + relative)]
        if not files:
            yield f"{name} does not exist"
        elif test and not any(has == test or (cut and has.startswith(test)) for f in files for has in tests[f]):
            yield f"{name} has no {test}{cut}"


def missing_words(text: str, tests: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield a line for each test that a table mentions and that no file has.

    The last column of a table mentions a test by the words of its name.
    """
    names = {name.removeprefix("test_") for found in tests.values() for name in found}
    for line in text.splitlines():
        column = SHOWN_BY.search(line)
        for before, words, after in WORDS.findall(column[1]) if column else ():
            pattern = re.compile(("" if not before else ".*") + re.escape(words) + ("" if not after else ".*"))
            if not any(pattern.fullmatch(name) for name in names):
                yield f"no test is called {before}{words}{after}"
