"""The options that every mail provider has: the sender, and the headers of each mail."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from dispatcher.adapters.providers.fields import EmailFrom, Options, Text
from dispatcher.core.life.mail import header

MARK = "{notification_id}"
OWN_HEADERS = {"from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id", "mime-version"} | {
    "auto-submitted",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "return-path",
    "received",
}
_HEADER_NAME = re.compile(r"[!-9;-~]{1,60}")


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("must name each header in printable ASCII without a colon or a space")
        if name.lower() in OWN_HEADERS or name.lower().startswith(("content-", "resent-", "dkim-", "arc-")):
            raise ValueError(f"must not set {name}: the dispatcher, another option or a relay writes this header")
        if not text.strip() or not text.isprintable():
            raise ValueError(f"must give {name} a text without a line end or another control character")
    if len({name.lower() for name in value}) < len(value):
        raise ValueError("must name each header once")
    return value


def _unsubscribe(value: str) -> str:
    if not re.fullmatch(r"(https://|mailto:)[!-;=?-~]+", value) or re.search(r"[{}]", value.replace(MARK, "")):
        raise ValueError(f"must be one address, https:// or mailto:, in which {MARK} may stand")
    return value


class MailOptions(Options):
    """The sender of mails, with or without a display name, and headers for every mail."""

    sender: EmailFrom
    reply_to: EmailFrom | None = None
    headers: Annotated[dict[str, str], AfterValidator(_headers)] | None = None
    list_unsubscribe: Annotated[Text, AfterValidator(_unsubscribe)] | None = None

    def fixed_headers(self) -> list[str]:
        """Return the header lines that are the same in every mail. From and Reply-To are not included."""
        fixed = ["Auto-Submitted: auto-generated"]  # RFC 3834: no out-of-office answer to this
        if (self.list_unsubscribe or "").startswith("https://"):
            fixed.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")  # RFC 8058
        return [*fixed, *(header(name, text) for name, text in (self.headers or {}).items())]

    def unsubscribe_header(self, notification_id: str) -> list[str]:
        """Return the List-Unsubscribe header of a mail as a list with one line.

        The list is empty without the option `list_unsubscribe`.
        """
        if self.list_unsubscribe is None:
            return []
        return [f"List-Unsubscribe: <{self.list_unsubscribe.replace(MARK, notification_id)}>"]
