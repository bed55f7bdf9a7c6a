"""Redrives or discards every dead letter that matches a filter.

The letters are counted first. Then they are changed in calls of limited size, with the progress shown. After an
interruption, the command can continue from a cursor.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.api_answers import BulkAnswer
from dispatcher.errors import DispatcherError

CALL_LIMIT = 1_000
"""The most dead letters of one call. A call then takes seconds, so little is repeated after an interruption."""

LINE_S = 2.0
"""The time between two progress lines when the output is not a terminal, in seconds."""

Call = Callable[[str, Mapping[str, Any]], Any]


class BulkError(DispatcherError):
    """The command stopped before its end. The message says how to continue."""


def change_all(call: Call, verb: str, body: Mapping[str, Any], cursor: str | None, *, yes: bool, dry_run: bool) -> None:
    """Count the dead letters that match, ask the operator, then redrive or discard them all.

    `yes` leaves out the question. `dry_run` only counts.

    Raises BulkError if the service stops answering. The message holds the cursor from which to continue. If the
    operator continues there, no dead letter is changed twice.
    """
    expected, refused = _total(_answers(call, verb, {**body, "dry_run": True}, cursor, wait=False))
    click.echo(f"{expected} to {verb}" + _because(refused))
    if dry_run or expected == 0:
        return
    if not yes:
        click.confirm(f"{verb} {expected} dead letters?", abort=True)
    console = Console()
    answers = _answers(call, verb, body, cursor, wait=True)
    done, refused = (_bar if console.is_terminal else _lines)(console, verb, expected, answers)
    click.echo(f"{verb}: {done} done" + _because(refused))


def _answers(call: Call, verb: str, body: Mapping[str, Any], cursor: str | None, *, wait: bool) -> Iterator[BulkAnswer]:
    while True:
        try:
            answer: BulkAnswer = call(f"/v1/dead-letters/{verb}", {**body, "limit": CALL_LIMIT, "cursor": cursor})
        except (DispatcherError, KeyboardInterrupt) as error:
            why = str(error) or "interrupted"
            if cursor is None:
                raise BulkError(why) from None
            raise BulkError(f"{why}\ngo on with: --all --cursor {cursor}") from None
        yield answer
        cursor = answer["cursor"]
        if cursor is None:
            return
        if wait and answer["wait_s"]:
            time.sleep(answer["wait_s"])


def _total(answers: Iterator[BulkAnswer]) -> tuple[int, Counter[str]]:
    done, refused = 0, Counter[str]()
    for answer in answers:
        done += answer["count"]
        refused.update(answer["refused"])
    return done, refused


def _bar(console: Console, verb: str, expected: int, answers: Iterator[BulkAnswer]) -> tuple[int, Counter[str]]:
    shape = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    columns = (TextColumn(verb), *shape, TextColumn("{task.fields[why]}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(verb, total=expected, why="")

        def shown() -> Iterator[BulkAnswer]:
            for answer in answers:
                progress.update(task, advance=answer["count"], why=_pace(answer))
                yield answer

        return _total(shown())


def _lines(_: Console, verb: str, expected: int, answers: Iterator[BulkAnswer]) -> tuple[int, Counter[str]]:
    done, next_s = 0, time.monotonic() + LINE_S

    def shown() -> Iterator[BulkAnswer]:
        nonlocal done, next_s
        for answer in answers:
            done += answer["count"]
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + LINE_S
                click.echo(f"{verb}: {done} of {expected} {_pace(answer)}".rstrip())
            yield answer

    return _total(shown())


def _pace(answer: Mapping[str, Any]) -> str:
    return "paced" if answer["wait_s"] else ""


def _because(refused: Counter[str]) -> str:
    return "".join(f"\n  {count} stay: {reason}" for reason, count in sorted(refused.items()))
