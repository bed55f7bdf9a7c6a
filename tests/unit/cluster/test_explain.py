"""`dispatcher config explain` tells which route a notification gets."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from cluster.cli.explain import explain

FILE = """
vendors:
  sms-a: {adapter: twilio, channel: sms}
  sms-b: {adapter: vonage, channel: sms}
routes:
  - {channel: sms, chain: [sms-b, sms-a], match: {country: [NO, SE]}}
  - {channel: sms, chain: [sms-a, sms-b], match: {event: [login.code], priority: [high]}}
  - {channel: sms, chain: [sms-a, sms-b], split: {sms-a: 70, sms-b: 30}, match: {tenant: [gold]}}
events:
  login.code: {priority: high, notifications: [{channel: sms, template: code}]}
templates:
  code: {text: "{{ code }}"}
"""


def lines(tmp_path: Path, *arguments: str) -> list[str]:
    file = tmp_path / "config.yaml"
    file.write_text(FILE)
    done = CliRunner().invoke(explain, [str(file), "--channel", "sms", *arguments])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_the_used_route_comes_first_and_the_rest_behind_it(tmp_path: Path) -> None:
    """The first line is the used route, and other fitting routes follow.

    Each line has the route's conditions and its vendors.
    """
    assert lines(tmp_path, "--event", "login.code", "--country", "NO") == [
        "used: routes.1 (event login.code; priority high): sms-a, then sms-b",
        "also fits: routes.0 (country NO, SE): sms-b, then sms-a",
    ]


def test_a_split_is_shown_in_percent(tmp_path: Path) -> None:
    """The weights of a split are shown in percent of their sum."""
    assert lines(tmp_path, "--tenant", "gold") == ["used: routes.2 (tenant gold): sms-a 70.0% or sms-b 30.0%"]


def test_without_a_route_it_says_that_the_trigger_is_refused(tmp_path: Path) -> None:
    """If no route fits, one line says that the trigger is refused.

    Without a country, no route with a list of countries fits.
    """
    assert lines(tmp_path) == ["refused: no route carries sms for this notification (422)"]
