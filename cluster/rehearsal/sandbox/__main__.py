"""Runs the sandbox vendors as a process: `python -m cluster.rehearsal.sandbox`."""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import sys

import click
import uvloop

from cluster.rehearsal.sandbox.http import HttpServer
from cluster.rehearsal.sandbox.ledger import Ledger
from cluster.rehearsal.sandbox.smtp import DATA_BYTES_MAX, SmtpSandbox


async def serve(
    host: str, port: int, smtp_port: int, smtp_name: str, *, latency_ms: float
) -> tuple[HttpServer, asyncio.Server, int]:
    """Start the HTTP and the SMTP server. Return both, for closing, and the port of the SMTP server."""
    ledger = Ledger(latency_ms)
    http = await HttpServer.start(ledger, host, port)
    smtp = await asyncio.start_server(
        SmtpSandbox(ledger, smtp_name).handle, host, smtp_port, limit=DATA_BYTES_MAX, backlog=1024
    )
    return http, smtp, smtp.sockets[0].getsockname()[1]


async def _run(host: str, port: int, smtp_port: int, smtp_name: str, *, latency_ms: float) -> None:
    http, smtp, mail = await serve(host, port, smtp_port, smtp_name, latency_ms=latency_ms)
    click.echo(json.dumps({"http_port": http.port, "smtp_port": mail}))
    sys.stdout.flush()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    smtp.close()
    http.close()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8090, show_default=True, help="The port for HTTP. 0 takes a free one and prints it.")
@click.option(
    "--smtp-port", default=8025, show_default=True, help="The port for SMTP. 0 takes a free one and prints it."
)
@click.option("--smtp-name", default="email-b", show_default=True, help="The name of the vendor that receives by SMTP.")
@click.option("--latency-ms", default=50.0, show_default=True, help="How long an accepted call takes, in milliseconds.")
@click.option("--die-with-parent", is_flag=True, hidden=True)
def main(*, host: str, port: int, smtp_port: int, smtp_name: str, latency_ms: float, die_with_parent: bool) -> None:
    """Start vendors that speak real wire formats: Twilio, Vonage, SendGrid and SMTP.

    They record what they receive, and fail on request.
    """
    if die_with_parent:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    uvloop.run(_run(host, port, smtp_port, smtp_name, latency_ms=latency_ms))


if __name__ == "__main__":
    main()
