"""Checks the regular expressions that operators write: what they find, what is refused, and that none can stop the
event loop.
"""

from __future__ import annotations

import signal

import pytest

from dispatcher.config.rule_patterns import RulePattern
from dispatcher.config.settings import parse_settings
from dispatcher.errors import ConfigError


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    [
        ("twilio_30410|timed out upstream", "http_502: Timed OUT upstream", True),
        ("^p_100:", "p_100: x", True),
        ("^p_100:", "xp_100: x", False),
        ("größe", "p: GRÖSSE, GRÖẞE, GRÖßE", True),
        (r"quota\b.*day", "p: quota of the day", True),
        (r"(?P<code>\d{3}) no", "p: 550 NO", True),
        ("no", "p: n\ud800o no", True),
        ("(?s)a.b", "a\nb", True),
        ("a.b", "a\nb", False),
        ("day$", "p: of the day", True),
    ],
)
def test_an_expression_is_found_anywhere_and_in_any_case(expression: str, text: str, found: bool) -> None:
    """An expression matches at any place in the text, and the match ignores upper and lower case.

    The syntax is that of Rust's engine for regular expressions. An invalid character in the text does not prevent a
    match.
    """
    assert RulePattern(expression).search(text) is found


SLOW = [
    r"(a+)+$",
    r"(a|a)*$",
    r"(a|aa)+$",
    r"(?:a?){20}a{10}$",
    r"(\w+\s?)*$",
    r"^(([a-z])+.)+[A-Z]([a-z])+$",
    r"(.*a){12}b",
]
"""Python's own engine needs minutes to years for each of them in the text below (OWASP, "Regular expression DoS")."""


@pytest.mark.parametrize("expression", [*SLOW, r"(.{0,14}){0,14}q", r"\w{150}"])
def test_no_expression_stops_the_loop(expression: str) -> None:
    """A search with any of these expressions uses less than a second of CPU."""
    pattern = RulePattern(expression)
    previous = signal.signal(signal.SIGVTALRM, _too_slow)
    try:
        for text in ("a" * 499 + "!", "qa" * 250, "é" * 500, "a b" * 166 + "!"):
            signal.setitimer(signal.ITIMER_VIRTUAL, 1)
            pattern.search(text)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


def _too_slow(*_: object) -> None:
    raise AssertionError("a search took more than a second")


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        (r"(?=quota)", "must be a regular expression: look-around"),
        (r"(a)\1", "must be a regular expression: backreferences are not supported"),
        ("(quota", "must be a regular expression: unclosed group"),
        ("*", "must be a regular expression: repetition operator missing expression"),
        ("x?", "must not match an empty text"),
        ("(a{20}){20}", "must not repeat so often; the product of the counts in braces may be 200 at most"),
        ("a{99999999999999999999}", "must not repeat so often"),
        (r"\w{40}" * 20, "must not repeat so often"),
        (r"\w" * 250, "must be a regular expression: Compiled regex exceeds size limit"),
    ],
)
def test_what_the_engine_does_not_know_is_refused_by_its_field(expression: str, sentence: str) -> None:
    """An expression that the engine does not support, or that is too large, is refused when the configuration is
    parsed. The error names the field.
    """
    vendor = {"adapter": "twilio", "channel": "sms", "rules": [{"match": expression, "means": "final"}]}
    with pytest.raises(ConfigError) as caught:
        parse_settings({"vendors": {"a": vendor}})
    assert "vendors.a.rules.0.match: " in str(caught.value)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
