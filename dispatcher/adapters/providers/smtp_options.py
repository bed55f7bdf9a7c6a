"""The options of an SMTP relay."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from dispatcher.adapters.providers.fields import CaFile, Flag, Host, Port, Secret, Text, Url
from dispatcher.adapters.providers.mail_options import MailOptions
from dispatcher.adapters.providers.oauth import OAuth

IMPLICIT_TLS_PORT = 465
OAUTH = ("oauth_token_url", "oauth_client_id", "oauth_client_secret", "oauth_scope", "oauth_refresh_token")


def _helo_name(value: str) -> str:
    if value.rstrip(".").lower() in ("localhost", "localhost.localdomain"):
        raise ValueError("must be a name by which others know this host, never localhost")
    return value


class SmtpOptions(MailOptions):
    """The options of an SMTP vendor: the relay, the login if the relay needs one, and the sender's address and display
    name.

    If `tls` is not given, it is `implicit` on port 465 and `starttls` on any other port. The option `starttls` is an
    older form of the option `tls`. With `oauth_token_url`, an access token from that URL replaces `password` (XOAUTH2).
    Without `helo_name`, the sender's domain is used. `ca_file` replaces the machine's certificate authorities.
    """

    host: Host
    port: Port = 587
    username: Text | None = None
    password: Secret | None = None
    tls: Literal["starttls", "implicit", "none"] | None = None
    starttls: Flag | None = None
    ca_file: CaFile | None = None
    helo_name: Annotated[Host, AfterValidator(_helo_name)] | None = None
    oauth_token_url: Url | None = None
    oauth_client_id: Text | None = None
    oauth_client_secret: Secret | None = None
    oauth_scope: Text | None = None
    oauth_refresh_token: Secret | None = None

    @model_validator(mode="after")
    def _login_is_whole(self) -> SmtpOptions:
        by_token = any(getattr(self, name) is not None for name in OAUTH)
        if by_token and self.password is not None:
            raise ValueError("password: must be left out if access tokens are used")
        needed = ("username", "oauth_token_url", "oauth_client_id", "oauth_client_secret")
        for name in needed if by_token else ():
            if getattr(self, name) is None:
                raise ValueError(f"{name}: is needed for access tokens")
        for name, other in (("username", "password"), ("password", "username")):
            if not by_token and getattr(self, name) is None and getattr(self, other) is not None:
                raise ValueError(f"{name}: is needed if {other} is given")
        if by_token and self.protection == "none":
            raise ValueError("tls: must not be none, because others could read the token")
        if self.tls is not None and self.starttls is not None and self.starttls != (self.tls == "starttls"):
            raise ValueError(f"starttls: must be left out, because tls is {self.tls}")
        return self

    @property
    def oauth(self) -> OAuth | None:
        """Return the endpoint that gives access tokens, with its credentials. None means a password or no login."""
        if self.oauth_token_url is None or self.oauth_client_id is None or self.oauth_client_secret is None:
            return None
        return OAuth(
            self.oauth_token_url,
            self.oauth_client_id,
            self.oauth_client_secret,
            self.oauth_scope,
            self.oauth_refresh_token,
        )

    @property
    def protection(self) -> str:
        """Return how the connection is protected: `starttls`, `implicit` or `none`."""
        if self.tls is not None:
            return self.tls
        if self.starttls is None:
            return "implicit" if self.port == IMPLICIT_TLS_PORT else "starttls"
        return "starttls" if self.starttls else "none"
