"""The SMTP server of the sandbox. It accepts one message after another and records each."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import re
import secrets

from cluster.rehearsal.sandbox.ledger import Ledger, Vendor

PATH = re.compile(rb"^(?:FROM|TO):\s*<([^<>\s]*)>", re.IGNORECASE)
DATA_BYTES_MAX = 4 * 1024 * 1024


class SmtpSandbox:
    """One vendor's SMTP server. `handle` serves one connection."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger, self._name = ledger, name

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Session(self._ledger, self._name, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            pass  # ended during a call that hangs; asyncio's own callback would complain of a cancelled task
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


class _Session:
    def __init__(self, ledger: Ledger, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ledger, self._name, self._reader, self._writer = ledger, name, reader, writer
        self._to: list[str] = []

    @property
    def _vendor(self) -> Vendor:
        return self._ledger.vendor(self._name)

    async def run(self) -> None:
        await self._say(220, "sandbox ESMTP")
        while True:
            line = (await self._reader.readuntil(b"\n")).rstrip(b"\r\n")
            verb, _, rest = line.partition(b" ")
            match verb.upper():
                case b"EHLO":
                    self._writer.write(b"250-sandbox\r\n250 8BITMIME\r\n")
                    await self._writer.drain()
                case b"HELO" | b"NOOP":
                    await self._say(250, "ok")
                case b"RSET":
                    self._to.clear()
                    await self._say(250, "ok")
                case b"MAIL":
                    self._to.clear()
                    await self._say(*((250, "ok") if PATH.match(rest) else (501, "syntax")))
                case b"RCPT":
                    await self._recipient(rest)
                case b"DATA":
                    if not await self._data():
                        return
                case b"QUIT":
                    await self._say(221, "bye")
                    return
                case _:
                    await self._say(502, "not implemented")

    async def _recipient(self, rest: bytes) -> None:
        found = PATH.match(rest)
        if not found or b"@" not in found.group(1):
            await self._say(501, "syntax")
            return
        address = found.group(1).decode()
        mode = self._vendor.fault.now(address)
        if mode in ("reject", "throttle"):
            self._vendor.note(mode)
            await self._say(*((550, "5.1.1 no such user") if mode == "reject" else (421, "try later")))
            return
        self._to.append(address)
        await self._say(250, "ok")

    async def _data(self) -> bool:
        """Read one message and answer as the vendor's fault says. Return False if the connection must end."""
        if not self._to:
            await self._say(503, "no recipient")
            return True
        await self._say(354, "go ahead")
        raw = await self._reader.readuntil(b"\r\n.\r\n")
        vendor, fault = self._vendor, self._vendor.fault
        mode = fault.now(*self._to)
        if mode == "hang":
            vendor.note(mode)
            await asyncio.sleep(3600)
        if mode == "reset":
            vendor.note(mode)
            self._writer.transport.abort()
            return False
        if mode in ("error", "garbage", "drip"):
            vendor.note(mode)
            await self._say(451, "local error")
            return True
        await asyncio.sleep((fault.latency_ms if mode == "slow" else self._ledger.latency_ms) / 1000)
        mail = email.message_from_bytes(raw[:-5].replace(b"\r\n..", b"\r\n."), policy=email.policy.default)
        body = mail.get_body(("plain",))
        number = secrets.token_hex(6)
        text = body.get_content() if body is not None else ""
        for to in self._to:
            vendor.deliver(to, text.strip(), str(mail["Message-ID"] or number), str(mail["Subject"] or ""))
        self._to.clear()
        await self._say(250, f"queued as {number}")
        return True

    async def _say(self, code: int, text: str) -> None:
        self._writer.write(f"{code} {text}\r\n".encode())
        await self._writer.drain()
