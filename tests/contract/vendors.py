"""Provides what tests of vendor adapters need: the adapters, the sandbox that they call, and an answer in HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

from dispatcher.adapters.providers import build
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message
from dispatcher.ports import Vendor

LONGEST = "0-" + "z" * 26 + ".299"
"""A notification's id of the greatest length, as that of a trigger for 100 recipients. Providers limit texts."""
SMS = Message("0-a.0", "k", "sms", "+4915112345678", "Grüße, order N000001")
EMAIL = Message("0-a.1", "k", "email", "ada@example.com", "Hello\n", "Paid", "<p>Hello</p>")
HTTP_ADAPTERS = ("twilio", "vonage", "sendgrid")


def make(adapter: str, base_url: str = "http://127.0.0.1:1", port: int = 25) -> Vendor:
    options: dict[str, Any] = {
        "twilio": {"base_url": base_url, "account_sid": "AC1", "auth_token": "t", "sender": "+4915112345678"},
        "vonage": {"base_url": base_url, "api_key": "a", "api_secret": "s", "sender": "Shop"},
        "sendgrid": {"base_url": base_url, "api_key": "a", "sender": "shop@example.com"},
        "smtp": {"host": "127.0.0.1", "port": port, "starttls": False, "sender": "shop@example.com"},
    }[adapter]
    return build(adapter, adapter, "sms" if adapter in ("twilio", "vonage") else "email", options)


def message_for(adapter: str) -> Message:
    return SMS if adapter in ("twilio", "vonage") else EMAIL


@dataclass
class Sandbox:
    url: str
    smtp_port: int
    session: aiohttp.ClientSession

    def vendor(self, adapter: str) -> Vendor:
        return make(adapter, f"{self.url}/{adapter}", self.smtp_port)

    async def fault(self, adapter: str, **fault: Any) -> int:
        async with self.session.put(f"{self.url}/_sandbox/{adapter}/fault", json=fault) as answer:
            return answer.status

    async def received(self, adapter: str) -> dict[str, Any]:
        async with self.session.get(f"{self.url}/_sandbox/{adapter}/received?full=1") as answer:
            found: dict[str, Any] = await answer.json()
            return found


async def send(vendor: Vendor, message: Message, timeout_s: float = 2.0) -> Outcome:
    try:
        return await vendor.send(message, timeout_s)
    finally:
        await vendor.close()


def http(status: str, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status.encode(), b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


SID = b"SM" + b"0" * 32
