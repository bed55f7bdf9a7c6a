"""Access tokens for relays that no longer accept passwords, such as Exchange Online and Google Workspace.

The provider's token endpoint (RFC 6749) returns a token if the client sends its own credentials (section 4.4) or a
refresh token that an administrator once got (section 6). A token is used until a minute before it expires. All
connections that need a token at the same time share one request.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from dispatcher.adapters.providers.http import HttpClient, read_object
from dispatcher.core.life.outcome import Outcome, Scope

TOKEN_S_MAX = 10.0
EARLY_S = 60.0
LIFE_S = 300.0
"""The assumed lifetime of a token, in seconds, if the answer gives no lifetime (RFC 6749, section 5.1, allows this)."""

_RETRY = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class OAuth:
    """The token endpoint, and the credentials that this service uses there.

    With `refresh_token` the token belongs to a user, otherwise to the client.
    """

    token_url: str
    client_id: str
    client_secret: SecretStr
    scope: str | None = None
    refresh_token: SecretStr | None = None


class NoTokenError(Exception):
    """Raised if no access token could be got. Nothing of the mail was sent then. `outcome` is the outcome of the
    attempt.
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Tokens:
    """Gets and keeps the access token of one relay. Only one event loop may use a `Tokens` object."""

    def __init__(self, options: OAuth) -> None:
        self._options = options
        self._token: SecretStr | None = None
        self._until_s = 0.0
        self._one_asks = asyncio.Lock()
        self._http = HttpClient()

    async def get(self, instead_of: SecretStr | None = None) -> SecretStr:
        """Return the kept token, or a new token if the kept token expires soon. Raises NoTokenError.

        `instead_of` is a token that the relay has refused. If it is still the kept token, a new token replaces it.
        """
        async with self._one_asks:
            if self._token is None or self._token is instead_of or time.monotonic() >= self._until_s:
                self._token = None
                self._token, life_s = await self._fetch()
                self._until_s = time.monotonic() + max(1.0, life_s - EARLY_S)
            return self._token

    async def close(self) -> None:
        await self._http.close()

    async def _fetch(self) -> tuple[SecretStr, float]:
        o = self._options
        form = {"client_id": o.client_id, "client_secret": o.client_secret.get_secret_value()}
        if o.refresh_token is not None:
            form |= {"grant_type": "refresh_token", "refresh_token": o.refresh_token.get_secret_value()}
        else:
            form["grant_type"] = "client_credentials"
        if o.scope is not None:
            form["scope"] = o.scope
        answer = await self._http.post_form(o.token_url, TOKEN_S_MAX, form, {"Accept": "application/json"})
        if isinstance(answer, Outcome):  # a second request for a token harms nobody, so unknown is failed
            raise NoTokenError(Outcome.failed("token_unreachable", local_origin=answer.local_origin))
        if 400 <= answer.status < 500 and answer.status not in _RETRY:
            raise NoTokenError(Outcome.failed("token_refused", scope=Scope.ACCOUNT))
        token, life_s = read_token(answer.body) if answer.status == 200 else ("", 0.0)
        if not token:
            raise NoTokenError(Outcome.failed("no_token"))
        return SecretStr(token), life_s


def read_token(body: bytes) -> tuple[str, float]:
    """Return the token in the endpoint's answer, and its lifetime in seconds.

    The token is "" if the answer has no token, or a token with a space or with a character that is not printable ASCII.
    """
    told = read_object(body)
    token: Any = told.get("access_token")
    try:
        given: Any = told.get("expires_in")
        life_s = LIFE_S if given is None else float(given)
    except (ValueError, TypeError, OverflowError):
        return "", 0.0
    fits = isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token
    return (token, life_s) if fits else ("", 0.0)
