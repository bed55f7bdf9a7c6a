"""docs/capacity.md holds what its commands print; whoever changes model, profile or document sees it here."""

from __future__ import annotations

import pytest

from benchmarks.document import BLOCK, DOCUMENT, printed, renewed

BLOCKS = [(block["command"], block["text"]) for block in BLOCK.finditer(DOCUMENT.read_text())]


def test_the_document_has_its_blocks() -> None:
    """An answer, a table of three loads, and how far the model is off."""
    assert [command for command, _ in BLOCKS] == [
        "dispatcher capacity --per-day 10000000",
        "dispatcher capacity --per-day 1e7 --per-day 1e8 --per-day 1e9 --markdown",
        "python -m benchmarks.model_check --markdown",
    ]


@pytest.mark.parametrize(("command", "text"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_a_block_is_what_its_command_prints(command: str, text: str) -> None:
    """When it is not: python -m benchmarks.document"""
    assert text == printed(command)


def test_only_blocks_are_renewed() -> None:
    before = "a\n<!-- printed by: one -->\nold\nold\n<!-- end -->\nb\n<!-- printed by: two -->\nold\n<!-- end -->\n"
    after = "a\n<!-- printed by: one -->\n(one)\n<!-- end -->\nb\n<!-- printed by: two -->\n(two)\n<!-- end -->\n"
    assert renewed(before, lambda command: f"({command})") == after
