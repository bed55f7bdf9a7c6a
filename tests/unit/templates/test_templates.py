"""Templates render text, subject and HTML from their data, and can do nothing else."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import TemplateError
from dispatcher.templates.compile import Rendered, compile_template
from dispatcher.templates.source import TemplateSource

DATA: dict[str, Any] = {
    "name": "<Ada & co>",
    "total": 49.9,
    "order": {"items": [{"name": "pen", "price": 1.5}, {"name": "ink", "price": 2}]},
    "numbers": list(range(1000)),
    "nothing": None,
}


def text_of(template: str, data: Any = DATA, locale: str | None = None) -> str:
    return compile_template(TemplateSource("t", template)).render(data, locale).text


def html_of(template: str, data: Any = DATA) -> str:
    return compile_template(TemplateSource("t", "x", html=template)).render(data).html or ""


def test_three_parts_from_one_source() -> None:
    """A template renders subject, text and HTML. Values are escaped in the HTML part only."""
    source = TemplateSource("paid", "Hi {{ name }}", "For {{ name }}", "<b>{{ name }}</b>", 2)
    assert compile_template(source).render(DATA) == Rendered(
        "For <Ada & co>", "Hi <Ada & co>", "<b>&lt;Ada &amp; co&gt;</b>"
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ total | decimals }} {{ locale }}", "49.90 de-DE"),
        (
            "{% for i in order.items %}{{ loop.index }}. {{ i.name }} {{ i.price * 2 }}; {% endfor %}",
            "1. pen 3; 2. ink 4; ",
        ),
        ("{% if name %}yes{% else %}no{% endif %}", "yes"),
        ("{{ absent | default('-') }}{{ 'x' if absent is defined }}", "-"),
        ("{{ order['items'][1].name | upper }} {{ 'a' ~ 1 }} {{ 'a' + 'b' }}", "INK a1 ab"),
        ("{{ numbers[1:4] | join(', ') }}", "1, 2, 3"),
        ("{% for k, v in order | items %}{{ k }}{% endfor %}", "items"),
        ("{% set n = total * 2 %}{{ n | round(1) }}", "99.8"),
        ("{{ name | replace('co', 'Co') | truncate(4) }}", "<..."),
    ],
)
def test_what_a_message_needs_is_there(template: str, text: str) -> None:
    """Conditions, loops, sums, amounts and defaults render as expected."""
    assert text_of(template, locale="de-DE") == text


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ absent }}", "absent"),
        ("{{ order.absent }}", "order.absent"),
        ("{{ absent.a.b }}", "absent"),
        ("{{ order['x'] }}", r"order\['x'\]"),
    ],
)
def test_a_missing_variable_is_named(template: str, name: str) -> None:
    """The error tells which variable the data lacks."""
    with pytest.raises(TemplateError, match=f"template t, text: missing variable {name}$"):
        text_of(template)


@pytest.mark.parametrize(
    ("locale", "text"), [("de-AT", "Hallo"), ("de", "Hallo"), ("de_DE", "Hallo"), ("en-GB", "Hi"), (None, "Hi")]
)
def test_a_template_chooses_its_language(locale: str | None, text: str) -> None:
    """A template can choose a language by the first two letters of the recipient's locale, with a default if there
    is no locale.
    """
    template = '{% if (locale | default("en"))[:2] == "de" %}Hallo{% else %}Hi{% endif %}'
    assert text_of(template, locale=locale) == text


INJECTIONS = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ name|attr('__class__') }}",
    "{{ order.__init__.__globals__ }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ lipsum.__globals__ }}",
    "{{ namespace(a=1) }}",
    "{{ range(10) }}",
    "{{ order.keys() }}",
    "{{ order.pop('items') }}",
    "{{ name.upper }}",
    "{{ name.format(1) }}",
    "{{ '%s'|format(name) }}",
    "{{ ['format']|map('attr') }}",
    "{{ name|safe }}",
    "{{ ().__class__ }}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% macro f() %}{{ f() }}{% endmacro %}",
    "{% call f() %}{% endcall %}",
    "{% block b %}{% endblock %}",
    "{% filter upper %}{% endfilter %}",
    "{% set a %}x{% endset %}",
    "{% with a = 1 %}{% endwith %}",
    "{% set a.b = 1 %}",
    "{% autoescape false %}{{ name }}{% endautoescape %}",
    "{{ {'a': name} }}",
    "{% set a = [1] %}{% set a = [a, a] %}{{ a | length }}",
    "{{ order }}",
    "{{ numbers }}",
    "{{ nothing }}",
    "{{ loop }}",
    "{% for x in numbers recursive %}{{ loop(x) }}{% endfor %}",
    "{{ 1/0 }}",
    "{{ name > 1 }}",
    "{{",
    "{{ x",
    "{% for %}",
]
BOMBS = [
    "{{ 'x'*50000000 }}",
    "{{ 50000000*'x' }}",
    "{{ 'x'.ljust(50000000) }}",
    "{{ 'x'|center(50000000) }}",
    "{{ 'x'|indent(50000000) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ 10**200000 }}",
    "{{ [0]*100000000 }}",
    "{{ 1|round(1000000000) }}",
    "{% set a = 10 %}" + "{% set a = a * a %}" * 40 + "{{ a }}",
    "{% set a = 'x' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "{% set a = 'xx' %}" + "{% set a = a|replace('x', 'xxxxxxxxxx') %}" * 40 + "{{ a }}",
    "{{ numbers|join('" + "x" * 1000 + "') }}",
    "{% for a in numbers %}{% for b in numbers %}{% for c in numbers %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in numbers %}{% for b in numbers %}x{% endfor %}{% endfor %}",
    "{% for a in numbers %}" + "x" * 100 + "{% endfor %}",
    "x" * 65_537,
    "x" * 262_145,
    "ü" * 40_000,
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "1+" * 20_000 + "1 }}",
    "{{ " + "not " * 20_000 + "1 }}",
    "{{ " + "9" * 10_000 + " }}",
    "{% if 1 %}" * 500 + "{% endif %}" * 500,
]


@pytest.mark.parametrize("template", INJECTIONS)
def test_a_template_reaches_nothing_but_its_data(template: str) -> None:
    """Every known way out of the sandbox ends in a `TemplateError`."""
    with pytest.raises(TemplateError):
        text_of(template)


@pytest.mark.parametrize("template", BOMBS, ids=lambda template: template[:40])
def test_a_template_cannot_exhaust_the_process(template: str) -> None:
    """Templates that grow, loop or nest without bounds raise `TemplateError` within a second of CPU, ten times what
    they need.
    """
    began_s = time.thread_time()
    with pytest.raises(TemplateError):
        text_of(template)
    assert time.thread_time() - began_s < 1.0


class Agent:
    """An object with an attribute and a method that a sandbox alone would not block."""

    token = "s3cret"

    def delete(self) -> str:
        raise AssertionError("called")


class Text(str):
    pass


@pytest.mark.parametrize(
    "value", [Agent(), Agent, Text("x"), (1,), {1}, b"x", {1: 2}, [Agent()], {"a": {"b": Agent()}}]
)
def test_only_plain_data_is_passed(value: Any) -> None:
    """Data of any type that JSON does not have is refused before the template sees it."""
    with pytest.raises(TemplateError, match=r"^data: "):
        text_of("x", {"value": value})


@pytest.mark.parametrize("template", ["{{ a + 1 }}", "{{ order[a] }}", "{{ a|round }}", "{% for x in a %}{% endfor %}"])
def test_no_error_tells_a_value(template: str) -> None:
    """An error never repeats a value of the data, so that no address gets into a dead letter's reason."""
    with pytest.raises(TemplateError) as caught:
        text_of(template, {"a": "canary@secret.test", "order": {}})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x00", "\x85", "\u2028"])
def test_a_subject_is_one_line(end: str) -> None:
    """A value with a line end in the subject raises an error, so that no value can add a mail header."""
    with pytest.raises(TemplateError, match="subject: a line end"):
        compile_template(TemplateSource("t", "x", subject="For {{ a }}")).render({"a": f"b{end}Bcc: c@d.test"})


@pytest.mark.parametrize(
    "value",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "</b><a href=javascript:alert(1)>",
        "&lt;script&gt;",
    ],
)
@pytest.mark.parametrize(
    "template", ["<b>{{ v }}</b>", '<a title="{{ v }}">', "<a title='{{ v }}'>", "{{ v ~ '' }}", "<!-- {{ v }} -->"]
)
def test_html_stays_the_templates_own(template: str, value: str) -> None:
    """No value can add a tag, an attribute or an entity to the HTML."""
    before, after = template.split("{{ v ~ '' }}" if "~" in template else "{{ v }}")
    html = html_of(template, {"v": value})
    shown = html[len(before) : len(html) - len(after)]
    assert not set(shown) & set("<>\"'")
    assert "&amp;lt;" in shown or value != "&lt;script&gt;"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "java\tscript:alert(1)",
        "\x01javascript:x",
        "data:text/html,x",
        "vbscript:x",
        ":x",
        "file:/etc/passwd",
    ],
)
@pytest.mark.parametrize(
    "template",
    [
        '<a href="{{ u }}">',
        "<A HREF = '{{ u }}'>",
        '<img alt="{{ u }}" src=" {{ u }}">',
        '<a href="{% if 1 %}{{ u }}{% endif %}">',
        "<a href=\"{{ 'x' }}{{ u }}\">",
    ],
)
def test_a_url_has_an_allowed_scheme(template: str, url: str) -> None:
    """A value at the start of a URL cannot bring a scheme such as `javascript:`.

    The error does not contain the value.
    """
    with pytest.raises(TemplateError, match="a URL must be relative") as caught:
        html_of(template, {"u": url})
    assert "alert" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://x.test/a:b", "http://x", "mailto:a@x.test", "/path", "?q=a:b", "#a", "tel:+49151"]
)
def test_ordinary_urls_pass(url: str) -> None:
    """Relative URLs, and schemes that mail programs open, render unchanged."""
    assert html_of('<a href="{{ u }}">', {"u": url}) == f'<a href="{url}">'


@pytest.mark.parametrize(
    "template",
    [
        "<a href={{ name }}>",
        "<a {{ name }}>",
        "<{{ name }}>",
        "</{{ name }}>",
        "<im{{ name }}>",
        "<p onclick=\"f('{{ name }}')\">",
        '<p style="color: {{ name }}">',
        "<script>let a = '{{ name }}'</script>",
        "<STYLE>a { color: {{ name }} }</STYLE>",
    ],
)
def test_an_expression_where_escaping_is_not_enough_does_not_compile(template: str) -> None:
    """An expression in a place where escaping does not protect is refused when the template is compiled."""
    with pytest.raises(TemplateError, match="line 1: an expression"):
        compile_template(TemplateSource("t", "x", html=template))


def test_text_after_a_script_is_text_again() -> None:
    """A static script or style may stay in the HTML, and an expression after it is allowed."""
    assert html_of("<style>a{}</style><script>1<2</script>a < b {{ name }}").endswith("a < b &lt;Ada &amp; co&gt;")


@given(st.text(max_size=60) | st.text("{}%# <>\"'=|.()[]anumeorfif~*\n", max_size=60))
def test_any_source_renders_or_fails_as_a_template(source: str) -> None:
    """Any source renders or raises `TemplateError`, and never another error."""
    with suppress(TemplateError):
        compile_template(TemplateSource("t", source or "x", subject=source, html=source)).render(DATA)


@pytest.mark.parametrize("name", ["", "A", "a b", "tenant/", "tenant/A", "a" * 82, "a\n"])
def test_a_template_has_a_plain_name(name: str) -> None:
    """A name that could not stand in a Redis key and a URL is refused."""
    with pytest.raises(TemplateError, match="a template's name"):
        compile_template(TemplateSource(name, "x"))


def test_a_source_survives_as_a_dict() -> None:
    """A template's source is turned into a dict and back. The result equals the original."""
    source = TemplateSource("t", "x", "s", "<b>", 3)
    assert TemplateSource.from_dict(source.to_dict()) == source


@pytest.mark.parametrize(
    ("subject", "line"),
    [
        ("Order\nis paid", 1),
        ("Order {{ n }}\n\n", 1),
        ("{% if n %}Order\tpaid{% endif %}", 1),
        ("{{ n\n}}{% for i in l %}\u2028{% endfor %}", 2),
    ],
)
def test_a_subject_that_no_mail_can_have_is_refused_when_it_is_stored(subject: str, line: int) -> None:
    """A subject whose own text has a line end or tab is refused at compilation.

    Otherwise each trigger with it would be refused later.
    """
    with pytest.raises(TemplateError, match=rf"subject: line {line}: must not contain a line end"):
        compile_template(TemplateSource("t", "Hi", subject))


@pytest.mark.parametrize(
    "subject", ["Paid\n", "Paid\r\n", "Paid {#\n#}", "{{\n n }}", "Paid\n{%- if n %} {{ n }}{% endif %}"]
)
def test_a_line_end_that_is_no_part_of_the_subject_is_none(subject: str) -> None:
    """A subject may have a line end at the end of its file, inside a comment or a tag, or where a dash removes it.

    Such a line end is allowed and is not in the rendered subject.
    """
    assert "\n" not in str(compile_template(TemplateSource("t", "Hi", subject)).render({"n": "1"}).subject)
