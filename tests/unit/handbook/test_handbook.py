"""The documents are complete: links, alerts, settings and decision records are checked.

Pages of the site load nothing from other hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.proof import prove
from dispatcher.adapters.providers import PROVIDERS
from dispatcher.config.setting_descriptions import DESCRIPTIONS, add_all_descriptions
from dispatcher.config.settings import Settings, parse_settings
from dispatcher.core.life.notification import State
from dispatcher.core.life.outcome import Meaning
from handbook import configuration, fetches, links

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
OPERATING = (DOCS / "operating.md").read_text()
README_WORDS_MAX = 900


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "cluster" / "files" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def sections(text: str, level: int) -> dict[str, str]:
    """Return each section of this level by its heading. A section ends at the next heading of its level or above."""
    parts = re.split(rf"^{'#' * level} (.+)$", text, flags=re.MULTILINE)[1:]
    end = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE)
    return {heading: end.split(body)[0] for heading, body in zip(parts[::2], parts[1::2], strict=True)}


# Links ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", links.documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    """No link of a document names a file or a heading that does not exist."""
    assert list(links.faults(path)) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](other.md)", []),
        ("[a](other.md#two-words)", []),
        ("[a](#here)\n\n# Here\n", []),
        ("[`a`](other.md#there-1)", []),
        ("[a](https://example.com/no-such)", []),
        ("```\n[a](gone.md)\n```\n", []),
        ("[a](gone.md)", ["it.md: gone.md does not exist"]),
        ("[a `b` c](gone.md)", ["it.md: gone.md does not exist"]),
        ("![a](gone.png)", ["it.md: gone.png does not exist"]),
        ("[a](other.md#gone)", ["it.md: other.md#gone names no heading"]),
        ("[a](#gone)", ["it.md: #gone names no heading"]),
        ("[a](../outside.md)", ["it.md: ../outside.md leads out of the repository"]),
    ],
)
def test_links_are_judged(tmp_path: Path, text: str, found: list[str]) -> None:
    """Links to missing files and headings are found.

    Links inside code blocks are ignored, and anchors are those that GitHub makes.
    """
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside.md").write_text("x")
    (root / "other.md").write_text("# Two `words`\n\n## There\n\n## There\n")
    (root / "it.md").write_text(text)
    links.anchors.cache_clear()
    assert list(links.faults(root / "it.md", root)) == found


def test_every_page_is_in_the_site_and_in_the_index() -> None:
    """Every page is in the menu of the site and is linked from the index."""
    pages = {path.name for path in DOCS.glob("*.md")} | {"adr/README.md"}
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    assert set(re.findall(r"[\w/]+\.md", menu)) == pages
    linked = {target.partition("#")[0] for target in links.LINK.findall((DOCS / "index.md").read_text())}
    assert pages - {"index.md"} <= linked


def test_every_decision_record_is_in_the_index_with_its_status() -> None:
    """Every decision record begins with a title and a status, and the index has a row with the same text."""
    index = (DOCS / "adr" / "README.md").read_text()
    for path in sorted((DOCS / "adr").glob("0*.md")):
        head = re.match(r"# (\d{4}): (.+)\n\n\*\*Status\.\*\* (.+), (\d{4}-\d\d-\d\d)\.\n", path.read_text())
        assert head is not None, f"{path.name}: begins with a title, then **Status.** Accepted, 2026-01-31."
        number, title, status, date = head.groups()
        assert path.name.startswith(number)
        assert f"| {number} | [{title}]({path.name}) | {status.lower()} | {date} |" in index


def test_the_readme_is_short() -> None:
    """The README has at most 900 words and no table of figures."""
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= README_WORDS_MAX
    assert "printed by:" not in text


# The runbook ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", alerts())
def test_every_alert_has_a_runbook_entry(name: str) -> None:
    """Every alert has a heading of its name in the runbook.

    The entry begins with the severity and has numbered steps.
    """
    entry = sections(OPERATING, 3).get(name)
    assert entry is not None, f"docs/operating.md: ### {name}"
    assert entry.strip().startswith(f"**{alerts()[name]['labels']['severity'].capitalize()}.**")
    assert re.search(r"^1\. ", entry, re.MULTILINE)


def test_no_runbook_entry_is_left_over() -> None:
    """Every entry of the runbook belongs to an alert that exists."""
    runbook = sections(OPERATING, 2)["Runbook"]
    assert set(re.findall(r"^### (\w+)$", runbook, re.MULTILINE)) == set(alerts())


def test_every_state_is_explained() -> None:
    """The table of states in docs/operating.md has exactly the states that `dispatcher show` can print."""
    table = sections(OPERATING, 2)["States of a notification"]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {state.value for state in State}


def test_every_meaning_of_a_refusal_is_explained() -> None:
    """The table in docs/vendors.md has exactly the meanings that operators can write into their rules."""
    table = sections((DOCS / "vendors.md").read_text(), 2)["What a vendor's answer means"]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {m.value for m in Meaning} | {"accepted"}


@pytest.mark.parametrize("name", ["backup", "restore", "upgrade", "removal"])
def test_procedures_are_blocks_that_can_be_run(name: str) -> None:
    """Each line of a procedure in the handbook is one command. So a test can run the commands of the page itself."""
    block = re.search(rf"^```console test={name}\n(.*?)^```$", OPERATING, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert all(line.startswith("$ ") for line in block[1].splitlines())


# The configuration ----------------------------------------------------------------------------------------------------


def models() -> Iterator[tuple[str, dict[str, Any]]]:
    for model in (Settings, *(one.options for one in PROVIDERS.values())):
        schema = model.model_json_schema()
        yield model.__name__, schema
        yield from ((name, one) for name, one in schema.get("$defs", {}).items() if "properties" in one)


@pytest.mark.parametrize(("name", "schema"), list(models()), ids=[name for name, _ in models()])
def test_every_setting_has_a_description(name: str, schema: dict[str, Any]) -> None:
    """Every field has a sentence, either in the model or in `config.setting_descriptions`.

    No sentence is left of a removed field.
    """
    described = {field for field, one in schema["properties"].items() if "description" in one}
    assert described | set(DESCRIPTIONS.get(name, {})) == set(schema["properties"])
    assert all(sentence.endswith(".") for sentence in DESCRIPTIONS.get(name, {}).values())


def test_no_description_is_left_over() -> None:
    """`config.setting_descriptions` names only models that exist."""
    assert set(DESCRIPTIONS) <= {name for name, _ in models()}


@pytest.mark.parametrize("path", ["README.md", "docs/configuration.md"])
def test_a_configuration_to_copy_is_right(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration in the page passes the same checks as `config check`, with every `${NAME}` reference set."""
    block = re.search(r"^```yaml\n(.*?)^```$", (ROOT / path).read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    for name in re.findall(r"\$\{(\w+)\}", block[1]):
        monkeypatch.setenv(name, {"SANDBOX_URL": "http://127.0.0.1:1", "SANDBOX_SMTP_PORT": "2525"}.get(name, "ACtest"))
    assert list(prove(parse_settings(yaml.safe_load(block[1])))) == []


def test_a_models_own_description_wins() -> None:
    """A model describes one field itself. This description is used, and ours fills in only where there is none.

    So the provider of another package describes its own options.
    """
    schema = {"properties": {"vendors": {"description": "own"}, "routes": {}}}
    found = add_all_descriptions(schema, "Settings")["properties"]
    assert found["vendors"]["description"] == "own"
    assert found["routes"]["description"] == DESCRIPTIONS["Settings"]["routes"]


def test_a_table_says_type_default_unit_and_bounds() -> None:
    """The reference table is made from a JSON schema alone, and shows type, default, unit and bounds of each field."""
    schema = {
        "properties": {
            "wait_s": {"type": "number", "exclusiveMinimum": 0, "maximum": 5, "default": 2.0, "description": "A wait."},
            "names": {"type": "array", "items": {"enum": ["a", "b"], "type": "string"}, "maxItems": 3},
            "rate_per_s": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
            "inner": {"$ref": "#/$defs/Inner"},
        },
        "required": ["names"],
        "$defs": {"Inner": {"type": "object", "properties": {"on": {"type": "boolean", "default": True}}}},
    }
    lines = configuration.reference(schema, {}).splitlines()
    assert "| `wait_s` | number | `2` | s | more than 0 to 5 | A wait. |" in lines
    assert "| `names` | list of text | **required** |  | at most 3, each `a`, `b` |  |" in lines
    assert "| `rate_per_s` | number | – | per second |  |  |" in lines
    assert "### `inner`" in lines
    assert "| `on` | true or false | `true` |  |  |  |" in lines


# The site -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "fetched"),
    [
        ('<a href="https://example.com/">there</a>', 0),
        ('<link rel="canonical" href="https://example.com/">', 0),
        ('<link rel="stylesheet" href="assets/a.css"><script src="a.js"></script>', 0),
        ('<link rel="stylesheet" href="https://fonts.example.com/css">', 1),
        ('<link rel="preconnect" href="https://fonts.example.com">', 1),
        ('<script src="//cdn.example.com/a.js"></script>', 1),
        ('<img src="https://example.com/a.png">', 1),
        ("<style>@import 'https://example.com/a.css'; a { background: url(//example.com/b) }</style>", 2),
    ],
)
def test_what_a_page_fetches_is_seen(tmp_path: Path, page: str, fetched: int) -> None:
    """Everything that a page would load from another host is found. A link that a reader may click does not count."""
    (tmp_path / "page.html").write_text(page)
    assert len(list(fetches.faults(tmp_path))) == fetched


def test_what_a_style_sheet_fetches_is_seen(tmp_path: Path) -> None:
    """A style sheet would load a font from another host. The check of the documentation's pages reports this
    address.
    """
    (tmp_path / "a.css").write_text("@font-face { src: url(https://fonts.example.com/a.woff2), url(b.woff2) }")
    assert list(fetches.faults(tmp_path)) == ["a.css fetches https://fonts.example.com/a.woff2"]
