"""Values are printed in a message in one fixed form, and some values are refused."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.errors import TemplateError
from dispatcher.templates.compile import compile_template
from dispatcher.templates.source import TemplateSource


def text_of(template: str, data: Any, locale: str | None = None) -> str:
    return compile_template(TemplateSource("t", template)).render(data, locale).text


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("{{ v }}", 49.9, "49.9"),
        ("{{ v }}", 0.00000012, "0.00000012"),
        ("{{ v }}", True, "true"),
        ("{{ v ~ '' }}", 0.00000012, "0.00000012"),
        ("{{ v ~ '' }}", True, "true"),
        ("{{ [v] | join if false else v }}", 7, None),
        ("{{ 'x' ~ v * 2 }}", 3, "x6"),
        ("{{ v | upper }}", True, "TRUE"),
        ("{{ v | title }}", "o'neil jean-luc", "O'neil Jean-Luc"),
        ("{{ v | trim('x') | lower | capitalize }}", "xADAx", "Ada"),
        ("{{ v - 1 }}{{ -v }}", 3, "2-3"),
        ("{{ 1 < v < 5 }}", 3, "true"),
        ("{{ 'y' if not v == 2 and v is odd }}", 3, "y"),
    ],
)
def test_a_value_is_printed_plainly(template: str, value: Any, text: str | None) -> None:
    """Numbers are printed without exponents, and true and false as in JSON. This also holds where texts are joined.

    A list that is joined must have constants only. Otherwise an error is raised.
    """
    if text is None:
        with pytest.raises(TemplateError, match="a list of anything but constants"):
            text_of(template, {"v": value})
    else:
        assert text_of(template, {"v": value}) == text


@pytest.mark.parametrize(
    ("template", "locale", "text"),
    [
        ("{{ v | money('EUR') }}", "de-DE", "1.234,50 EUR"),
        ("{{ v | money('EUR') }}", "en-US-u-fw-mon-mu-celsius", "EUR 1,234.50"),
        ("{{ v | money('EUR') }}", None, "EUR 1,234.50"),
        ("{{ -0.004 | money('EUR') }}", None, "EUR 0.00"),
        ("{{ v | money('JPY') }}", "ja", "JPY 1,235"),
        ("{{ v | money('USD') }}", "es-US", "USD 1,234.50"),
        ("{{ v | money('USD') }}", "es-419", "USD 1,234.50"),
        ("{{ v | money('EUR') }}", "es-ES", "1.234,50 EUR"),
        ("{{ v | money('EUR') }}", "ca-ES", "1.234,50 EUR"),
        ("{{ v | money('NOK') }}", "nn-NO", "1 234,50 NOK"),
        ("{{ v | money('CHF') }}", "it-CH", "CHF 1'234.50"),
        ("{{ d | date }}", "fr-CA", "2030-01-31"),
        ("{{ d | date }}", "es-PR", "01/31/2030"),
        ("{{ d | date }}", "de_AT", "31.01.2030"),
        ("{{ d | date }}", "en-US", "01/31/2030"),
        ("{{ d | date }}", None, "2030-01-31"),
    ],
)
def test_money_and_dates_follow_the_locale(template: str, locale: str | None, text: str) -> None:
    """Money and dates are printed in the form of the locale. An unknown locale gets a form that nobody misreads."""
    assert text_of(template, {"v": 1234.5, "d": "2030-01-31T09:00:00+01:00"}, locale) == text


@pytest.mark.parametrize(
    ("template", "data", "says"),
    [
        ("Hi {{ name | default('there') }}", {"name": None}, "name .*null"),
        ("{{ order.total }}", {"order": {"total": None}}, "order.total: a null"),
        ("{{ name }}", {"name": ["a"]}, "name: a list"),
        ("{{ name }}", {"name": {}}, "name: a list or an object"),
        ("{{ name | upper }}", {}, "missing variable name"),
        ("{{ name | money('EUR') }}", {}, "missing variable name"),
        ("{{ name ~ 'x' }}", {}, "missing variable name"),
        ("{{ name | upper }}", {"name": None}, "name .*null"),
        ("{{ name | lower }}", {"name": ["a"]}, "name .*a list"),
        ("{{ name | title | trim }}", {"name": {}}, "name .*a list or an object"),
        ("{{ name | default(other) | capitalize }}", {"name": None, "other": "x"}, "name .*null"),
        ("{{ 'x' ~ name }}", {"name": None}, "'x' ~ name: name is null"),
        ("{{ total - tax }}", {"total": 1}, "missing variable tax"),
        ("{{ total - tax }}", {"total": 1, "tax": None}, "total - tax: tax is null"),
        ("{{ order.total + 1 }}", {"order": {}}, "missing variable order.total"),
        ("{% if total > 100 %}{% endif %}", {}, "missing variable total"),
        ("{% if total > 100 %}{% endif %}", {"total": "200"}, "if total > 100: > compares"),
        ("{% set t = total * 2 %}{{ t }}", {}, "missing variable total"),
        ("{{ total - 1 if total is defined else tax - 1 }}", {}, "missing variable tax"),
        ("{{ total | default(0) - tax }}", {"tax": "x"}, "meets a value"),
        ("{{ rows ~ total }}", {"rows": [], "total": None}, "a list or an object"),
        ("{{ (name) | money('EUR') }}", {"name": "x"}, r"\(name\) .*: money takes a number"),
        ("{{ name | truncate('x') }}", {"name": "a"}, "name .*: truncate takes"),
        ("{% for i in rows %}{% endfor %}", {}, "missing variable rows"),
        ("{% for i in rows %}{{ i.a }}{% endfor %}", {"rows": [{}]}, "missing variable i.a"),
        ("{% if a == b %}{% endif %}", {}, "missing"),
    ],
)
def test_what_cannot_be_printed_is_named(template: str, data: Any, says: str) -> None:
    """The error names the variable or expression that cannot be printed, and not its value."""
    with pytest.raises(TemplateError, match=says):
        text_of(template, data)


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("{{ v }}", 1845678901234567890, "1845678901234567890"),
        ("{{ v }}", 2**64 - 1, "18446744073709551615"),
        ("{{ v }}", 1234567890123456.0, "1234567890123456"),
        ("{{ v * 3 }}", 0.1, "0.3"),
        ("{{ v * 3 }}", 1.1, "3.3"),
        ("{{ v }}", 52.520006599999997, "52.5200066"),
        ("{{ v | decimals }}", 1.005, "1.01"),
        ("{{ v | decimals }}", 2.675, "2.68"),
        ("{{ v | decimals }}", "2.675", "2.68"),
        ("{{ v | decimals }}", -0.001, "0.00"),
        ("{{ v | money('EUR') }}", 0.125, "EUR 0.13"),
        ("{{ v * 3 | money('EUR') if false else (v * 3) | money('EUR') }}", 0.335, "EUR 1.01"),
        ("{{ v | round }}", 2.5, "3"),
        ("{{ v | round(2) }}", 2.675, "2.68"),
        ("{{ v | round(1) }}", -0.01, "0"),
        ("{{ v | money('EUR') }}", "99999999999999.99", "EUR 99,999,999,999,999.99"),
    ],
)
def test_the_digits_that_were_written_count(template: str, value: Any, text: str) -> None:
    """Numbers keep the digits that were written: a 64-bit id is whole, and a fraction has no binary noise.

    A half is rounded away from 0.
    """
    assert text_of(template, {"v": value}) == text


@pytest.mark.parametrize(
    "written",
    [
        *("2030-01-31", "2030-01-31T09:00:00Z", "2030-01-31 09:00", "2030-01-31T09:00:00.123456789+01:00"),
        *("2030-01-31T09:00:00+0100", "2030-01-31T09:00:00.000+01", "2030-01-31 09:00:00 UTC"),
        *("2030-01-31 09:00:00.5 +01:00", "2030-01-31T09:00:00,5Z"),
    ],
)
def test_a_date_is_read_as_other_programs_write_it(written: str) -> None:
    """A date is read in the forms that other programs write.

    Java and Ruby leave out the offset's colon, and Python writes a space (zod 1703, elixir 6181).
    """
    assert text_of("{{ v | date }}", {"v": written}, "de") == "31.01.2030"


@pytest.mark.parametrize(
    "template",
    [
        "{% set t = 0 %}{% for i in rows %}{% set t = t + i %}{% endfor %}{{ t }}",
        "{% set s = '' %}{% for i in rows %}{{ s }}{{ i }}{% set s = ', ' %}{% endfor %}",
        "{% set t = 0 %}{% for i in rows %}{% if i > 1 %}{% set t = t + 1 %}{% endif %}{% endfor %}",
        "{% for r in rows %}{% set t = 0 %}{% for i in r %}{% set t = t + i %}{% endfor %}{% endfor %}",
    ],
)
def test_a_sum_that_a_loop_forgets_does_not_compile(template: str) -> None:
    """A loop that sets a variable for the next round is refused, because the variable is reset after each round.

    Jinja compiles it, and a customer reads "Total: 0" (pallets/jinja 641, crinja 21).
    """
    with pytest.raises(
        TemplateError, match=r"line 1: a loop forgets what it sets after each round, so \w never changes"
    ):
        text_of(template, {"rows": [1, 2]})


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% set l = 'x' %}{% for i in rows %}{% if i > 1 %}{% set l = 'y' %}{% endif %}{{ l }}{% endfor %}", "xy"),
        ("{% for i in rows %}{% set t = i * 2 %}{% set t = t + 1 %}{{ t }}{% endfor %}", "35"),
        ("{% for i in rows %}{% set v = v * i %}{{ v }}{% endfor %}", "12"),
        ("{% for i in rows %}{% if i == 1 %}{% set y = i %}{% endif %}{{ y | default('-') }}{% endfor %}", "1-"),
        ("{% set a = 1 %}{% set a = a + 1 %}{{ a }}", "2"),
    ],
)
def test_a_loop_may_set_names_for_its_round(template: str, text: str) -> None:
    """A loop may set a variable for its own round, and nothing is left of it in the next one (minijinja 910)."""
    assert text_of(template, {"rows": [1, 2], "v": 1}) == text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ v | default('y', boolean=true) }}", "y"),
        ("{{ v | default(default_value='y', boolean=true) }}", "y"),
        ("{{ v | d(boolean=true) }}", ""),
        ("{{ 'a b c d e' | truncate(length=4, end='', leeway=0) }}", "a b"),
        ("{{ 'aba' | replace(new='x', old='a') }}", "xbx"),
        ("{{ rows | join(d=', ') }}", "1, 2"),
        ("{{ 'ff' | int(base=16) }}", "255"),
        ("{% for k, n in m | dictsort(reverse=true) %}{{ k }}{% endfor %}", "ba"),
        ("{% for k, n in m | dictsort(false, 'value') %}{{ k }}{% endfor %}", "ba"),
        ("{{ 'xax' | trim(chars='x') }}", "a"),
    ],
)
def test_a_filter_takes_its_arguments_by_name_or_by_place(template: str, text: str) -> None:
    """A filter accepts its arguments by name and by position, as templates written for Jinja use them.

    The engine alone accepts only one form for each filter.
    """
    assert text_of(template, {"v": "", "rows": [1, 2], "m": {"a": 2, "b": 1}}) == text


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ v | money }}", "the filter money needs the argument currency"),
        ("{{ v | replace('a') }}", "the filter replace needs the argument new"),
        ("{{ v | money('EUR', 2) }}", "the filter money takes one argument"),
        ("{{ v | round(2, 'floor') }}", "the filter round takes one argument"),
        ("{{ v | upper(1) }}", "the filter upper takes no argument"),
        ("{{ v | round(method='floor') }}", "the filter round takes no argument method"),
        ("{{ v | truncate(5, length=5) }}", "the filter truncate takes no argument length twice"),
        ("{{ v | truncate(length=5, true) }}", "an argument without a name behind one with a name"),
        ("{{ v | replace('a',) }}", "the filter replace has an empty argument"),
        ("{{ v | join() | first(1) }}", "the filter first takes no argument"),
    ],
)
def test_an_argument_that_no_filter_takes_does_not_compile(template: str, says: str) -> None:
    """A wrong argument of a filter is refused at compilation. The engine alone would only fail at each trigger."""
    with pytest.raises(TemplateError, match=f"line 1: .*{says}"):
        compile_template(TemplateSource("t", template))


@pytest.mark.parametrize("source", ["Hi {{ v }}\r\nBye\r\n", "\ufeffHi {{ v }}\nBye\n", "Hi {{ v }}\rBye\r"])
def test_what_an_editor_adds_is_not_sent(source: str) -> None:
    """A byte order mark and the file's last line end are removed, and CR line ends become LF.

    The mark alone would make an SMS three times as expensive, and a last CR would make a subject invalid (statamic
    1274).
    """
    assert text_of(source, {"v": "Ada"}) == "Hi Ada\nBye"


@pytest.mark.parametrize("source", ["a\n\x07b", "{% if v %}\x00{% endif %}", "{{ 'a\\x1b' }}", "{{ 'a\x7f' }}"])
def test_a_control_character_does_not_compile(source: str) -> None:
    """A template with a control character is refused, because no phone or mail program shows such a character."""
    with pytest.raises(TemplateError, match=r"line \d: .*control character"):
        text_of(source, {"v": 1})


JAVASCRIPT = "javascript:alert(1)"


@pytest.mark.parametrize(
    "template",
    [
        '<a href="{% if order %}/{% endif %}{{ url }}">',
        '<a href="{% if order %}/{% else %}{% endif %}{{ url }}">',
        '<a {% if order %}title{% else %}href{% endif %}="{{ url }}">',
        '<a href="{% for i in rows %}/{% endfor %}{{ url }}">',
        '<meta http-equiv="refresh" content="0;url={{ url }}">',
        '<meta content="0;url={{ url }}" http-equiv="refresh">',
        "<meta content='0;url={{ url }}' http-equiv=&#114;efresh>",
        "{% for i in rows %}{{ url }}<script>{% endfor %}",
        '<a title="{% for i in rows %}{{ url }}" onclick="{% endfor %}">',
        '<a href="{{ scheme }}:{{ url }}">',
        '<a href="javascript:f({{ url }})">',
        '<a href="&#106;avascript:{{ url }}">',
        '<!--[if mso]><a href="{{ url }}"><![endif]-->',
        '<title></title ><a href="{{ url }}">',
        '<a title="a>b" href="{{ url }}">',
        '<!-- > --><a href="{{ url }}">',
        '<!--><a href="{{ url }}"> -->',
        '<script>"</scripty>{{ url }}</script>',
        '<script src="{{ url }}"></script>',
        '<img srcset="{{ url }} 2x">',
        "{#a#}<a href={# b #}{{ url }}>",
        "<!--{{ url }}>",
    ],
)
def test_no_branch_lets_a_script_through(template: str) -> None:
    """An expression stands behind a branch or a loop. If any way through the branch or loop could leave the HTML in a
    place where the expression is not safe, the template is refused.
    """
    with pytest.raises(TemplateError):
        data: Any = {"url": JAVASCRIPT, "scheme": "javascript", "order": None, "rows": []}
        compile_template(TemplateSource("t", "x", html=template)).render(data)


@pytest.mark.parametrize(
    "template",
    [
        '<a {% if order %}class="b" {% endif %}href="{{ url }}">',
        '<div{% if order %} class="a"{% endif %}>{{ url }}</div>',
        '{% for i in rows %}<a href="{{ url }}">{{ i }}</a>{% endfor %}',
        '<title>{{ url }}</title><!--[if mso]><p>{{ url }}</p><![endif]--><a href="/x?u={{ url }}">',
        '<meta name="description" content="{{ url }}">{% raw %}{{ not a tag }}{% endraw %}',
        "{\n{#- c -#}{ x }}",
    ],
)
def test_ordinary_branches_compile(template: str) -> None:
    """Attributes and elements that depend on a condition or a loop compile and render."""
    html = compile_template(TemplateSource("t", "x", html=template))
    assert html.render({"url": "https://x.test/", "order": 1, "rows": [1]}).html
