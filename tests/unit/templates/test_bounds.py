"""No template and no data can use too much CPU, block the event loop for long, or crash the template engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from dispatcher.errors import TemplateError
from dispatcher.templates.compile import _steps, compile_gently, compile_template
from dispatcher.templates.source import TemplateSource

LIST = list(range(8000))
LONG = "ab " * 7000
ROW = '<tr><td class="c" style="padding:4px">Hello there</td><td><a href="https://shop.test/x">x</a></td></tr>\n'
HOSTILE = [
    "{% for i in l %}{% set q = s|title %}{% endfor %}",
    "{% for i in l %}{% set q = s|replace('a', 'b') %}{% endfor %}",
    "{% for i in l %}{% set q = s|urlencode %}{% endfor %}",
    "{% for i in l %}{% set q = s == t %}{% endfor %}",
    "{% for i in l %}{% set q = s > t %}{% endfor %}",
    "{% for i in l %}{% set q = s[i] %}{% endfor %}",
    "{% for i in l %}{% set q = -1 in l %}{% endfor %}",
    "{% for i in l %}{% set q = l|join %}{% endfor %}",
    "{% for i in l %}{{ i|money('EUR') }}{% endfor %}",
    "{% for i in l %}{{ s }}{% endfor %}",
    "{% for i in l %}" + "x" * 50_000 + "{% endfor %}",
    "{% for i in l %}{% for j in l %}{% endfor %}{% endfor %}",
    "{% set a = l %}" + "{% set a = a + a %}" * 30 + "{{ a | length }}",
    "{{ (l * 100000000) | length }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ " + "1+" * 100_000 + "1 }}",
    "{{ " + "a~" * 100_000 + "a }}",
    "{{ " + "not " * 60_000 + "a }}",
    "{{ a" + ".b" * 100_000 + " }}",
    "{% if a %}" + "{% elif a %}" * 20_000 + "{% endif %}",
    "{{a}}" * 50_000,
    "{{ " + '"' + "x" * 200_000,
    "{{ 'a' ~ " * 20_000,
    "x" * 20_000,
]
HTML = [
    "<a>" * 80_000,
    "<" * 200_000,
    "<a b=c d " * 25_000,
    "<!--" * 60_000,
    "<a href='" + "x" * 200_000,
    "</title" * 30_000,
]


LIMIT = 0.05 / 0.014
"""The limit of one compilation or rendering, in times of `_reference`. On the machine and the CPython (3.11) that the
bounds were set on, it is 50 ms of CPU time, and the reference takes 14 ms."""

ROUNDS = 8


def _reference() -> object:
    return sum(i * i for i in range(300_000))


def _cpu_s(work: Callable[[], object]) -> float:
    began_s = time.thread_time()
    with suppress(TemplateError):
        work()
    return time.thread_time() - began_s


def cost(work: Callable[[], object]) -> float:
    """Return the CPU time of `work` as a multiple of the CPU time of a fixed reference.

    An older CPython, or other programs on the same core, make both slower. So the reference is measured directly before
    and after `work`. Several rounds are measured and the smallest result is returned, because other programs come and
    go. The rounds end as soon as one result is below `LIMIT`.
    """
    least = float("inf")
    for _ in range(ROUNDS):
        before_s, work_s, after_s = _cpu_s(_reference), _cpu_s(work), _cpu_s(_reference)
        least = min(least, work_s / max(before_s, after_s))
        if least < LIMIT:
            break
    return least


@pytest.mark.parametrize("template", HOSTILE, ids=lambda template: template[:40])
def test_a_rendering_is_bounded(template: str) -> None:
    """A hostile template is refused or rendered within the limit of about 50 ms of CPU, and the process survives."""
    data: dict[str, Any] = {"l": LIST, "s": LONG, "t": LONG + "c", "a": 1}
    assert cost(lambda: compile_template(TemplateSource("t", template)).render(data)) < LIMIT


@pytest.mark.parametrize("template", [*HTML, *HOSTILE], ids=lambda template: template[:40])
def test_a_compilation_is_bounded(template: str) -> None:
    """A hostile HTML part is refused or compiled within the limit of about 50 ms of CPU."""
    assert cost(lambda: compile_template(TemplateSource("t", "x", html=template))) < LIMIT


def test_an_ordinary_mail_is_compiled_and_rendered() -> None:
    """An ordinary mail of 100 KB of HTML with 64 KB of data is not refused, and stays within the same limits."""
    rows = ROW.replace("Hello there", "{{ name }}") * 200 + ROW * 750
    html = rows + "{% for i in items %}<p>{{ i.name }}: {{ i.price | money('EUR') }}</p>{% endfor %}"
    data = {"name": "Ada", "note": "n" * 30_000, "items": [{"name": "pen" * 8, "price": 1.5}] * 500}
    source = TemplateSource("t", "{{ note }}", html=html)
    compiled = compile_template(source)
    assert len(compiled.render(data).html or "") > 100_000
    assert cost(lambda: compiled.render(data)) < LIMIT
    # The limit is 20 ms on the reference's machine. There the pause is 5 ms, but other machines are shared.
    assert min(_longest_pause_s(source) / _cpu_s(_reference) for _ in range(ROUNDS)) < 0.02 / 0.014


async def test_others_run_while_a_template_is_compiled() -> None:
    """During the compilation of 100 KB another task of the event loop gets at least ten turns."""
    turns, done = 0, False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await compile_gently(TemplateSource("t", "x", html=ROW.replace("Hello there", "{{ name }}") * 950))
    done = True
    await task
    assert turns >= 10


def _longest_pause_s(source: TemplateSource) -> float:
    """Return the longest time between two pauses of one compilation."""
    steps, longest_s = _steps(source, given=True), 0.0
    while True:
        began_s = time.thread_time()
        try:
            next(steps)
        except StopIteration:
            return longest_s
        finally:
            longest_s = max(longest_s, time.thread_time() - began_s)
