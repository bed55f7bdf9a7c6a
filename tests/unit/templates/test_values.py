"""Values have one look in a message, and some are refused."""

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
    """No exponents, and JSON's own words for true and false, also where texts are joined."""
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
        ("{{ v | money('JPY') }}", "ja", "JPY 1,234"),
        ("{{ d | date }}", "de_AT", "31.01.2030"),
        ("{{ d | date }}", "en-US", "01/31/2030"),
        ("{{ d | date }}", None, "2030-01-31"),
    ],
)
def test_money_and_dates_follow_the_locale(template: str, locale: str | None, text: str) -> None:
    """A locale that is not in the table gets the form that nobody misreads."""
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
        ("{{ 'x' ~ name }}", {"name": None}, "'x' ~ name: a null"),
        ("{{ (name) | money('EUR') }}", {"name": "x"}, r"\(name\) .*: money takes a number"),
        ("{{ name | money('EUR', 2, 3) }}", {"name": 1}, "name .*: a filter fails"),
        ("{% for i in rows %}{% endfor %}", {}, "missing variable rows"),
        ("{% for i in rows %}{{ i.a }}{% endfor %}", {"rows": [{}]}, "missing variable i.a"),
        ("{% if a == b %}{% endif %}", {}, "missing"),
    ],
)
def test_what_cannot_be_printed_is_named(template: str, data: Any, says: str) -> None:
    """The variable stands in the error, and its value does not."""
    with pytest.raises(TemplateError, match=says):
        text_of(template, data)


@pytest.mark.parametrize("source", ["Hi {{ v }}\r\nBye\r\n", "\ufeffHi {{ v }}\nBye\n", "Hi {{ v }}\rBye\r"])
def test_what_an_editor_adds_is_not_sent(source: str) -> None:
    """A byte order mark alone makes an SMS thrice as dear, and a last CR makes a subject invalid (statamic 1274)."""
    assert text_of(source, {"v": "Ada"}) == "Hi Ada\nBye"


@pytest.mark.parametrize("source", ["a\n\x07b", "{% if v %}\x00{% endif %}", "{{ 'a\\x1b' }}", "{{ 'a\x7f' }}"])
def test_a_control_character_does_not_compile(source: str) -> None:
    """It is in no data either, and no phone or mail program shows it."""
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
    """An expression must be safe in every place where the branches before it may have left the HTML."""
    with pytest.raises(TemplateError):
        data = {"url": JAVASCRIPT, "scheme": "javascript", "order": None, "rows": []}
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
    """Attributes and elements may depend on data."""
    html = compile_template(TemplateSource("t", "x", html=template))
    assert html.render({"url": "https://x.test/", "order": 1, "rows": [1]}).html
