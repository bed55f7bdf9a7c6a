"""Checks how the configuration file is read as people write it, and which line an error names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dispatcher.config.settings import Settings
from dispatcher.config.yaml_file import load_settings
from dispatcher.errors import ConfigError


def load(tmp_path: Path, text: str | bytes) -> Settings:
    path = tmp_path / "dispatcher.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(path)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    for before, name in ("ab", "bc", "cd", "de", "ef", "fg", "gh")
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: [1\nc: 2\n", "line 3"),
        ("limits: {}\nretry: {}\nlimits: {}\n", "line 3, column 1: the key 'limits' appears twice"),
        ("vendors:\n  a: {adapter: smtp, adapter: twilio}\n", "line 2, column 22: the key 'adapter' appears twice"),
        ("- 1\n", "must be a mapping, and is a list"),
        ("x: !!python/object/apply:os.system [true]\n", "line 1"),
        ("a: 1\nb: \x00", "line 2: YAML has no character U+0000"),
        ("limits: {}\nretry: \x07\n", "line 2: YAML has no character U+0007"),
        ("templates:\n  t:\n    text: {{ name }}\n", "line 3, column 12: a mapping or a list is no name of a field; "),
        (b"a: M\xfcller\n", "must be UTF-8; the byte 0xfc is not"),
        ("a: 1\n".encode("utf-16"), "must be UTF-8; the byte 0xff is not"),
        ("limits:\n\tbody_bytes_max: 1\n", "line 2, column 1"),
        ("limits: {body_bytes_max: !!int many}\n", "line 1, column 26: this is not a number"),
        ("a: {}\n---\na: {}\n", "another document"),
        ("[" * 5_000, "nested deeper than 20"),
        ("vendors: &v {a: *v}\n", "an alias that contains itself"),
        ("vendors: {a: {options: &o {x: *o}}}\n", "an alias that contains itself"),
        (BOMB, "at most 200000 values"),
    ],
)
def test_a_file_that_is_not_a_mapping_names_its_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    """A syntax error, a duplicate key, a forbidden character, an endless alias or a file that is no mapping is
    refused. The error names the file and, where there is one, the line.
    """
    with pytest.raises(ConfigError, match=r"dispatcher\.yaml") as caught:
        load(tmp_path, text)
    assert says in str(caught.value)


def test_a_file_without_an_end_is_refused() -> None:
    """A device such as /dev/zero is refused as a file of more than 16 MiB, so that it does not fill the memory."""
    with pytest.raises(ConfigError, match=r"^/dev/zero: must have at most 16777216 bytes$"):
        load_settings(Path("/dev/zero"))


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    """A missing file raises ConfigError that names the path."""
    with pytest.raises(ConfigError, match=r"absent\.yaml"):
        load_settings(tmp_path / "absent.yaml")


def test_norway_is_a_country(tmp_path: Path) -> None:
    """The country NO is read as a text, and not as the boolean that YAML 1.1 makes of it."""
    text = "vendors: {a: {adapter: twilio, channel: sms}}\nroutes: [{channel: sms, chain: [a], match: {country: [NO]}}]"
    assert load(tmp_path, text).routes[0].match.country == ["NO"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("10", 10),
        ("010", 10),
        ("1e1", 10.0),
        ("1.5", 1.5),
        ("0x10", None),
        ("1:30", None),
        ("1_0", None),
        ("'10'", None),
        ("10s", None),
        ("2024-01-31", None),
        ("!!timestamp 2024-13-45", None),
        (".inf", None),
        ("1e400", None),
        ("9" * 19, None),
        ("9" * 5_000, None),
        ("yes", None),
    ],
)
def test_a_number_is_the_number_that_is_written(tmp_path: Path, written: str, read: Any) -> None:
    """A decimal number is read as it is written, and every other form is refused by its field.

    YAML 1.1 would read 010 as 8, 1:30 as 90 and 1_0 as 10 (pyyaml 107, 272).
    """
    text = f"vendors: {{a: {{adapter: twilio, channel: sms, timeout_s: {written}}}}}"
    if read is None:
        with pytest.raises(ConfigError, match=r"^vendors\.a\.timeout_s: "):
            load(tmp_path, text)
    else:
        assert load(tmp_path, text).vendors["a"].timeout_s == read


def test_a_clock_time_needs_no_quotes(tmp_path: Path) -> None:
    """A time such as 21:00 is read as text without quotes.

    YAML 1.1 would read 21:00 as the number 1260 and 08:00 as text (hacs_waste_collection_schedule 5065).
    """
    text = """
vendors: {a: {adapter: twilio, channel: sms}}
routes: [{channel: sms, chain: [a]}]
templates: {t: {text: Hi}}
events: {e: {notifications: [{channel: sms, template: t}], quiet_hours: {begin: 21:00, end: 08:00}}}
"""
    quiet = load(tmp_path, text).events["e"].quiet_hours
    assert quiet is not None
    assert (quiet.begin, quiet.end) == ("21:00", "08:00")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tenants: {a: ~}", "tenants.a: has no value; give it one, or leave the field out"),
        ("limit:\n", "limit: is not a known field"),
        ("templates: {t: {text: ~}}", "templates.t.text: has no value; give it one, or leave the field out"),
        ("templates: {t: {text: 12}}", "templates.t.text: 12 is not allowed: must be a text, and a number, true, "),
        ("tenants: {404: {}}", "tenants.404: the name 404 is not allowed: must be a text, and a number, true, false"),
        ("tenants: {~: {}}", "tenants.None: the name None is not allowed: must be a text"),
        ("limits: [1]", "limits: a list is not allowed: must be a mapping"),
        ("routes: sms", "routes: 'sms' is not allowed: must be a list"),
        (
            'templates: {t: {text: "\\ud83d"}}',
            "templates.t.text: '\\ud83d' is not allowed: holds half of a surrogate pair",
        ),
    ],
)
def test_a_value_of_another_kind_is_one_sentence_without_python(tmp_path: Path, text: str, says: str) -> None:
    """A value of the wrong type is refused. The error names the field, and uses words of the configuration and not of
    pydantic.
    """
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(says)
    assert "Input should" not in str(caught.value)


def test_a_section_of_comments_alone_is_left_out(tmp_path: Path) -> None:
    """A section with nothing but comments counts as left out, because operators disable settings in this way
    (deer-flow 3573, Configrity 23).
    """
    text = "limits:\n  # body_bytes_max: 1\ntenants:\nroutes: ~\nretry: {}\n"
    assert load(tmp_path, text) == load(tmp_path, "{}")


@pytest.mark.parametrize(
    "text", ['{"templates": {"t": {"text": "\\ud83d\\ude00!"}}}', 'templates: {t: {text: "\\U0001F600!"}}']
)
def test_a_file_may_be_json(tmp_path: Path, text: str) -> None:
    """A file in JSON is read, also if it writes an emoji as two escapes (libyaml 110, rasa 1564)."""
    assert load(tmp_path, text).templates["t"].text == "\U0001f600!"


@pytest.mark.parametrize("text", [b"\xef\xbb\xbflimits: {json_depth_max: 8}\r\n", b"limits: {json_depth_max: 8}\r"])
def test_what_editors_add_changes_nothing(tmp_path: Path, text: bytes) -> None:
    """A byte order mark and line ends of Windows or of old Macs change nothing."""
    assert load(tmp_path, text).limits.json_depth_max == 8
