"""A shop's checkout server in ordinary Python. It notifies the customer in one of two modes.

`checkout_before_after` measures this server. The mode `direct` is a good server without a dispatcher. It has a large
pool with one thread per request, and one keep-alive client with limits for connecting and reading. It sends SMS and
e-mail at the same time, and a vendor's failure never fails the checkout. In the mode `dispatcher`, one POST of a
trigger replaces the two calls. Nothing else differs. Starlette, uvicorn and urllib3 are installed anyway, because Ray
Serve needs them.
"""

from __future__ import annotations

import contextlib
import json
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import click
import urllib3
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Order = Mapping[str, str]
"""One order as the shop posts it: order, total, currency, name, email and phone."""

Notify = Callable[[Order], bool]
"""A function that notifies the customer of one order. It returns True if the messages were handed over."""


class Direct:
    """Calls both vendors at the same time and waits for both answers. Each answer may take `timeout_s` seconds."""

    def __init__(self, vendors: str, threads: int, timeout_s: float) -> None:
        timeout = urllib3.Timeout(connect=1.0, read=timeout_s)
        # One connection for each thread that may hold one. A smaller pool would open and drop connections.
        self._http = urllib3.PoolManager(num_pools=4, maxsize=2 * threads, timeout=timeout, retries=False)
        self._senders = ThreadPoolExecutor(threads)
        self._sms_url = f"{vendors}/sms-a/2010-04-01/Accounts/ACsandbox/Messages.json"
        self._email_url = f"{vendors}/email-a/v3/mail/send"
        self._sms_headers = {"Authorization": f"Basic {b64encode(b'ACsandbox:sandbox').decode()}"}
        self._email_headers = {"Authorization": "Bearer sandbox", "Content-Type": "application/json"}

    def __call__(self, order: Order) -> bool:
        # The request's own thread sends the e-mail meanwhile, so only one more thread is needed.
        sms: Future[bool] = self._senders.submit(self._sms, order)
        return self._email(order) and sms.result()

    def _sms(self, order: Order) -> bool:
        fields = {"To": order["phone"], "From": "+4915112345678", "Body": _text(order)}
        return self._post(self._sms_url, fields=fields, encode_multipart=False, headers=self._sms_headers, expected=201)

    def _email(self, order: Order) -> bool:
        mail = {
            "personalizations": [{"to": [{"email": order["email"]}]}],
            "from": {"email": "shop@example.com"},
            "subject": f"Order {order['order']} is paid",
            "content": [{"type": "text/plain", "value": _text(order)}],
        }
        return self._post(self._email_url, body=json.dumps(mail), headers=self._email_headers, expected=202)

    def _post(self, url: str, expected: int, **request: Any) -> bool:
        try:
            return bool(self._http.request("POST", url, **request).status == expected)
        except urllib3.exceptions.HTTPError:
            return False


class Dispatcher:
    """Posts one trigger. After a connection error or an answer other than 202, it tries once more with the same key."""

    def __init__(self, api: str, threads: int) -> None:
        timeout = urllib3.Timeout(connect=1.0, read=3.0)
        self._http = urllib3.PoolManager(num_pools=1, maxsize=threads, timeout=timeout, retries=False)
        self._url = f"{api}/v1/triggers"

    def __call__(self, order: Order) -> bool:
        trigger = {
            "event": "checkout.completed",
            "recipient": {"email": order["email"], "phone": order["phone"]},
            "data": {name: order[name] for name in ("order", "total", "currency", "name")},
        }
        headers = {"Content-Type": "application/json", "Idempotency-Key": order["order"]}
        for _ in range(2):
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if self._http.request("POST", self._url, body=json.dumps(trigger), headers=headers).status == 202:
                    return True
        return False


def _text(order: Order) -> str:
    return "Hi {name}, we received {total} {currency} for order {order}. Thank you!".format_map(order)


def application(notify: Notify, threads: int) -> Starlette:
    @contextlib.asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads
        yield

    async def checkout(request: Request) -> Response:
        order = await request.json()
        notified = await run_in_threadpool(notify, order)
        return JSONResponse({"order": order["order"], "paid": True, "notified": notified})

    return Starlette(routes=[Route("/checkout", checkout, methods=["POST"])], lifespan=life)


@click.command(help=__doc__)
@click.argument("mode", type=click.Choice(["direct", "dispatcher"]))
@click.option("--url", required=True, help="of the sandbox vendors, or of the dispatcher's API")
@click.option("--port", required=True, type=int)
@click.option("--threads", default=200, show_default=True, help="of the request pool; Tomcat's default")
@click.option("--timeout-s", default=5.0, show_default=True, help="of one vendor call")
def main(*, mode: str, url: str, port: int, threads: int, timeout_s: float) -> None:
    sys.setswitchinterval(0.001)  # many threads that wait on sockets: the pool answers sooner
    notify: Notify = Direct(url, threads, timeout_s) if mode == "direct" else Dispatcher(url, threads)
    uvicorn.run(application(notify, threads), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
