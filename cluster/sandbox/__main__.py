"""The sandbox vendors as a process of their own: `python -m cluster.sandbox`."""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import sys

import click
import uvloop
from aiohttp import web

from cluster.sandbox.http import HttpSandbox
from cluster.sandbox.ledger import Ledger
from cluster.sandbox.smtp import DATA_BYTES_MAX, SmtpSandbox


async def serve(
    host: str, port: int, smtp_port: int, smtp_name: str, latency_ms: float
) -> tuple[web.ServerRunner, asyncio.Server, int, int]:
    """Start both servers; answers with what to stop and the ports they have."""
    ledger = Ledger(latency_ms)
    runner = web.ServerRunner(web.Server(HttpSandbox(ledger), access_log=None), shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    await site.start()
    smtp = await asyncio.start_server(
        SmtpSandbox(ledger, smtp_name).handle, host, smtp_port, limit=DATA_BYTES_MAX, backlog=1024
    )
    return runner, smtp, runner.addresses[0][1], smtp.sockets[0].getsockname()[1]


async def _run(host: str, port: int, smtp_port: int, smtp_name: str, latency_ms: float) -> None:
    runner, smtp, http, mail = await serve(host, port, smtp_port, smtp_name, latency_ms)
    click.echo(json.dumps({"http_port": http, "smtp_port": mail}))
    sys.stdout.flush()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    smtp.close()
    await asyncio.wait_for(runner.cleanup(), 2.0)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8090, show_default=True, help="HTTP; 0: any free one, printed")
@click.option("--smtp-port", default=8025, show_default=True, help="SMTP; 0: any free one, printed")
@click.option("--smtp-name", default="email-b", show_default=True, help="vendor name of the SMTP sink")
@click.option("--latency-ms", default=50.0, show_default=True, help="of an accepted call")
@click.option("--die-with-parent", is_flag=True, hidden=True)
def main(host: str, port: int, smtp_port: int, smtp_name: str, latency_ms: float, die_with_parent: bool) -> None:
    """Vendors that speak real wire formats (Twilio, Vonage, SendGrid, SMTP), record, and misbehave on request."""
    if die_with_parent:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    uvloop.run(_run(host, port, smtp_port, smtp_name, latency_ms))


if __name__ == "__main__":
    main()
