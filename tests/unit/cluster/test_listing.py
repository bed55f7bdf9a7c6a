"""`dispatcher list` reads page by page and prints a line for each notification."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from cluster.cli.listing import line, rows


def row(n: int, **changes: Any) -> dict[str, Any]:
    fields = {"idempotency_key": f"k{n}", "recipient_id": None, "vendor": "sms-a", "reason": None, "state": "queued"}
    return {"id": f"0-t{n}.0", **fields, "until": None, "accepted": "2026-01-01T00:00:00+00:00", **changes}


class FakeApi:
    """Answers each call with the next page, and notes the query of each call in `asked`."""

    def __init__(self, *pages: list[dict[str, Any]]) -> None:
        self.pages, self.asked = list(pages), list[dict[str, list[str]]]()

    def call(self, method: str, path: str) -> Any:
        self.asked.append(parse_qs(urlsplit(path).query))
        page = self.pages.pop(0)
        return {"notifications": page, "cursor": f"a:normal|{len(self.asked)}-0|" if self.pages else None}


def test_pages_are_read_until_the_limit_or_the_end() -> None:
    """Pages are read until enough rows are found or no cursor is left. An empty page with a cursor is not the end."""
    api = FakeApi([row(0), row(1)], [], [row(2)])
    assert [one["id"] for one in rows(api, {"state": "queued"}, 3)] == ["0-t0.0", "0-t1.0", "0-t2.0"]
    assert [asked["limit"] for asked in api.asked] == [["3"], ["1"], ["1"]]
    assert api.asked[1]["cursor"] == ["a:normal|1-0|"]
    api = FakeApi([row(0), row(1)], [row(2)])
    assert len(list(rows(api, {"state": "queued"}, 2))) == 2


def test_a_line_says_why_and_until_when() -> None:
    """A line has the reason and the time until which the notification waits.

    Without such a time, the line has the accept time.
    """
    shown = line(row(1, reason="refused_by_all", until="2026-01-01T00:05:00+00:00"))
    assert shown.startswith("0-t1.0  k1 ") and "refused_by_all" in shown
    assert shown.endswith("until 2026-01-01T00:05:00+00:00")
    assert line(row(2)).endswith("since 2026-01-01T00:00:00+00:00")
