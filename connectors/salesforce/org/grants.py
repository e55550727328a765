"""The request for an access token: client credentials, JWT bearer or refresh token.

SOAP login is not offered.

Decides the form of the request and how long a token is kept; the session sends it. Source: help.salesforce.com, OAuth
2.0 flows; 005132110 for the end of SOAP login (read 2026-11-22).
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Self

import jwt
from pydantic import SecretStr, model_validator

from connectors.base.config import SystemModel
from connectors.base.errors import CredentialsRefused

_JWT_SECONDS = 180


class SalesforceCredentials(SystemModel):
    """`consumer_key` with `consumer_secret`; or with `private_key` and `username`; or with `refresh_token`.

    `audience` is the `aud` of the JWT, the base URL if absent. For a My Domain base URL it is the login host
    (https://login.salesforce.com, or test.salesforce.com for a sandbox).
    """

    consumer_key: str
    consumer_secret: SecretStr | None = None
    private_key: SecretStr | None = None
    username: str | None = None
    refresh_token: SecretStr | None = None
    audience: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        signs, refreshes = self.private_key is not None, self.refresh_token is not None
        if signs != (self.username is not None):
            raise ValueError("private_key and username belong together")
        if signs and (refreshes or self.consumer_secret is not None):
            raise ValueError("give private_key and username, or consumer_secret, or refresh_token")
        if not (signs or refreshes or self.consumer_secret is not None):
            raise ValueError("give consumer_secret, or private_key and username, or refresh_token")
        return self


@dataclass(frozen=True)
class TokenRequest:
    """A form to be posted to `/services/oauth2/token`, and whether key and secret go into a Basic header."""

    form: dict[str, str] = field(repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)


def token_request(credentials: SalesforceCredentials, base_url: str) -> TokenRequest:
    """Return the request of the grant that the credentials are for.

    Raises CredentialsRefused for an unusable private key.
    """
    secret = credentials.consumer_secret.get_secret_value() if credentials.consumer_secret else None
    if credentials.refresh_token is not None:
        form = {
            "grant_type": "refresh_token",
            "client_id": credentials.consumer_key,
            "refresh_token": credentials.refresh_token.get_secret_value(),
        }
        return TokenRequest(form | ({"client_secret": secret} if secret else {}))
    if credentials.private_key is not None:
        return TokenRequest(
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": _assertion(credentials, base_url),
            }
        )
    return TokenRequest({"grant_type": "client_credentials"}, basic=(credentials.consumer_key, secret or ""))


def cache_key(credentials: SalesforceCredentials, base_url: str) -> str:
    """Tokens are kept per login host and per credential; another secret is another key."""
    parts = [base_url, credentials.consumer_key, credentials.username or ""]
    for secret in (credentials.consumer_secret, credentials.private_key, credentials.refresh_token):
        parts.append(secret.get_secret_value() if secret else "")
    return "token|" + hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _assertion(credentials: SalesforceCredentials, base_url: str) -> str:
    assert credentials.private_key is not None
    claims = {
        "iss": credentials.consumer_key,
        "sub": credentials.username,
        "aud": credentials.audience or base_url,
        "exp": int(time.time()) + _JWT_SECONDS,
    }
    try:
        return jwt.encode(claims, credentials.private_key.get_secret_value(), algorithm="RS256")
    except (jwt.PyJWTError, ValueError, TypeError):
        raise CredentialsRefused("private_key_unusable") from None
