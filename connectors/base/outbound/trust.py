"""Choose the certificates that calls accept: the system's, or the bundle that the environment names."""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path

from connectors.base.config import ConfigurationError

_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def trust(*, http2: bool = True) -> ssl.SSLContext:
    """Return the context for TLS: SSL_CERT_FILE, else REQUESTS_CA_BUNDLE, else the system's trust store.

    Raises ConfigurationError naming the variable if its file can't be used.
    """
    for variable in _VARIABLES:
        bundle = os.environ.get(variable)
        if bundle:
            try:
                return _context(bundle, http2)
            except OSError as error:
                raise ConfigurationError(f"{variable}: no file of certificates ({type(error).__name__})") from None
    return _context(None, http2)


@cache
def _context(bundle: str | None, http2: bool) -> ssl.SSLContext:
    """One context for all clients of the process, because reading the certificates takes 50 ms.

    With and without HTTP/2 apart, because httpcore writes the offered protocols into the context at each connection.
    """
    if bundle is not None and Path(bundle).is_dir():
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)
