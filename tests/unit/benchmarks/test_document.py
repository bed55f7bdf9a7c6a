"""The documents hold what their commands print.

After a change of model, results, settings or commands, these tests fail until the documents are generated again.
"""

from __future__ import annotations

import pytest

from benchmarks.document import BLOCK, DOCUMENTS, printed, renewed

BLOCKS = [(block["command"], block["text"]) for text in DOCUMENTS for block in BLOCK.finditer(text.read_text())]


def test_the_documents_have_their_blocks() -> None:
    """The documents have exactly the expected printed blocks, in their order."""
    assert [command for command, _ in BLOCKS] == [
        "python -m benchmarks.measured_table",
        "python -m benchmarks.replacement_tables",
        "python -m benchmarks.measured_table --limits",
        "python -m benchmarks.drill_table",
        "python -m benchmarks.cluster_table",
        "dispatcher capacity --per-day 10000000",
        "dispatcher capacity --per-day 1e7 --per-day 1e8 --per-day 1e9 --markdown",
        "python -m benchmarks.model_check --markdown",
        "python -m handbook.configuration",
        "python -m handbook.command_line",
    ]


@pytest.mark.parametrize(("command", "text"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_a_block_is_what_its_command_prints(command: str, text: str) -> None:
    """Each block equals what its command prints. `python -m benchmarks.document` renews all blocks."""
    assert text == printed(command)


def test_only_blocks_are_renewed() -> None:
    before = "a\n<!-- printed by: one -->\nold\nold\n<!-- end -->\nb\n<!-- printed by: two -->\nold\n<!-- end -->\n"
    after = "a\n<!-- printed by: one -->\n(one)\n<!-- end -->\nb\n<!-- printed by: two -->\n(two)\n<!-- end -->\n"
    assert renewed(before, lambda command: f"({command})") == after
