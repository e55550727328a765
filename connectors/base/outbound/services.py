"""Open the client of a service that the operator named: a witness, a time-stamping authority, Vault.

The operator wrote its address, no link in an answer is followed, and nothing else is called with this client. So its
own host may be at a private address without further permission. Addresses that are link-local, of a metadata service
or reserved stay refused.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from connectors.base.config import ConfigurationError
from connectors.base.destinations import service_rules
from connectors.base.outbound.client import limits, open_client
from connectors.base.outbound.transport import StrictTransport


def open_service_client(
    url: str, timeout_seconds: float, *, allow_plain_http: bool = False, roots: Path | None = None
) -> httpx.Client:
    """Return a strict client for the host of `url` alone. A call takes at most twice `timeout_seconds`.

    `allow_plain_http` is for services whose answers are signed. `roots`: certificates that are believed instead of the
    system's, PEM. Raises UrlRefused, and ConfigurationError if the certificates can't be used.
    """
    rules = service_rules(url, allow_plain_http=allow_plain_http)
    try:
        believed = None if roots is None else ssl.create_default_context(cafile=roots)
    except OSError as error:
        raise ConfigurationError(f"{roots}: no file of certificates ({type(error).__name__})") from None
    transport = StrictTransport(rules, limits(timeout_seconds, 2 * timeout_seconds), believes=believed)
    return open_client(transport, {b"accept": b"*/*"})
