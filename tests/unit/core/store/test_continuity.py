"""The continuity watch finds out if the store has lost what it accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.store.continuity import Continuity, Lineage, Mark, Undone


def knowing(mark: Mark | None) -> Continuity:
    found = Continuity()
    if mark is not None:
        found.hear(mark)
    return found


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (Mark("l", 10), None),
        (Mark("l", 11), None),
        (Mark("l", 9), "went_back"),
        (Mark("m", 500), "replaced"),
        (None, "emptied"),
    ],
)
def test_only_the_same_life_and_no_lower_count_follow(found: Mark | None, kind: str | None) -> None:
    """A reading with the same life and no lower count is no break.

    Any other reading is a break that is reported once, and the store's new state is expected from then on.
    """
    c = knowing(Mark("l", 10))
    told = c.compare(c.mark, found)
    assert (told.kind if told else None) == kind
    assert c.mark == found
    assert c.compare(c.mark, found) is None


def test_who_knew_nothing_believes() -> None:
    """A process that has had no reading yet reports no break, whatever its first reading is."""
    c = Continuity()
    assert c.compare(c.mark, None) is None
    assert c.compare(c.mark, Mark("l", 7)) is None
    assert c.mark == Mark("l", 7)


def test_a_late_answer_is_no_break() -> None:
    """A process asked the store for its count of accepted triggers, and then learned a higher count from elsewhere. The
    answer has a count in between.

    This is no break, because an answer is compared only with what was known before the question.
    """
    c = knowing(Mark("l", 10))
    asked = c.mark
    c.hear(Mark("l", 12))
    assert c.compare(asked, Mark("l", 11)) is None
    assert c.mark == Mark("l", 12)


def test_one_break_is_told_once_however_many_ask() -> None:
    """Two questions to the store are sent before the first answer comes. Both answers show the same break, and it is
    reported once.
    """
    c = knowing(Mark("l", 10))
    asked = c.mark
    assert c.compare(asked, Mark("l", 3)) is not None
    assert c.compare(asked, Mark("l", 4)) is None
    assert c.mark == Mark("l", 4)


def test_a_break_says_how_many() -> None:
    """A break's text tells an operator by how many triggers the store went back, or how many the lost store had
    accepted.
    """
    c = knowing(Mark("l", 10))
    assert str(c.compare(c.mark, Mark("l", 3))) == "the store went back by 7 accepted triggers"
    assert "had accepted 3" in str(c.compare(c.mark, None))


@given(st.lists(st.integers(0, 5), max_size=30), st.data())
def test_a_store_that_only_counts_up_never_breaks(steps: list[int], data: st.DataObject) -> None:
    """A store whose count only grows never causes a break, however answers are delayed or overtake each other."""
    c, count, under_way = Continuity(), 0, []
    for step in steps:
        count += step
        under_way.append((c.mark, Mark("l", count) if count else None))
        while under_way and data.draw(st.booleans()):
            asked, found = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            assert c.compare(asked, found) is None


KNOWN = Lineage("a", 1000, replicas=1)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        pytest.param(Lineage("a", 1200), None, id="the same primary"),
        pytest.param(Lineage("b", 1100, 0, "a", 1100), None, id="a replica that had all, and more"),
        pytest.param(Lineage("b", 1000, 0, "a", 1000), None, id="just what was known"),
        pytest.param(Lineage("b", 999, 0, "a", 999), Undone("a", 1000, 999), id="a byte less"),
        pytest.param(Lineage("b", 5000, 0, "a", 400), Undone("a", 1000, 400), id="less, and it has written since"),
        pytest.param(Lineage("b", 0), None, id="read its file again"),
        pytest.param(Lineage("b", 90, 0, "c", 90), None, id="another's replica"),
    ],
)
def test_only_a_replica_that_left_its_primary_too_early_is_a_break(found: Lineage, told: Undone | None) -> None:
    """A replica became the primary. This is a break only if it has fewer bytes of the old primary's stream than that
    stream was known to have.

    The break is reported once.
    """
    c = Continuity()
    assert c.follow(KNOWN) is None
    assert c.follow(found) == told
    assert c.lineage == found
    assert c.follow(found) is None


def test_who_knew_no_stream_believes() -> None:
    c = Continuity()
    assert c.follow(Lineage("b", 90, 0, "a", 90)) is None


def test_what_is_undone_is_told_in_bytes() -> None:
    assert str(Undone("a", 1000, 400)) == "the store lost the last 600 bytes that it wrote"


@pytest.mark.parametrize("other", [990, 1000, 1007])
def test_one_restore_is_counted_once(other: int) -> None:
    """The store was restored from a backup. This is counted as one break, even if another process goes on reporting the
    count from before the restore.
    """
    mine = Continuity()
    mine.hear(Mark("life", 1000))
    breaks = 0
    for n in range(100):
        asked_with = mine.mark
        breaks += mine.compare(asked_with, Mark("life", 400 + n)) is not None
        mine.told(Mark("life", other))
    assert breaks == 1


def test_what_others_know_counts_before_a_break_and_long_after_it() -> None:
    """A process compares the store with the mark that another process reported, and so finds a loss of triggers
    that it did not accept itself. After a break it finds the next loss too.
    """
    mine = Continuity()
    mine.told(Mark("life", 1000))
    assert mine.compare(mine.mark, Mark("life", 400)) is not None
    mine.hear(Mark("life", 1200))
    assert mine.compare(mine.mark, Mark("life", 1100)) is not None
