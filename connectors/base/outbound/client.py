"""Open an httpx client that is strict, and turn its exceptions into the connectors' errors.

httpx's event hooks are where instrumentation begins: they see every request and every answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from connectors.base.destinations import NetworkRules
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, RequestRefused, TemporarilyUnavailable
from connectors.base.outbound.network import AddressRefused, DeadlinePassed, NotTrusted
from connectors.base.outbound.transport import (
    BodyTooLarge,
    Limits,
    StrictTransport,
    TargetRefused,
    Undecodable,
    Unsendable,
)

# httpx logs URLs and httpcore what it sends, and paths carry identifiers.
for _name in ("httpx", "httpcore", "hpack"):
    logging.getLogger(_name).setLevel(logging.WARNING)

TIMEOUT_SECONDS = 20.0
CONNECT_TIMEOUT_SECONDS = 5.0
DEADLINE_SECONDS = 120.0
_SAFE_METHODS = frozenset({"GET", "HEAD"})
HEADERS = {b"accept": b"application/json", b"accept-encoding": b"gzip", b"user-agent": b"expunge"}
EventHooks = Mapping[str, Sequence[Callable[..., Any]]]


def changes(method: str) -> bool:
    """True if a call of this method may change something at the vendor."""
    return method not in _SAFE_METHODS


def limits(
    timeout_seconds: float | None = None, deadline_seconds: float | None = None, default: float = TIMEOUT_SECONDS
) -> Limits:
    """Return the limits of a client.

    Without a deadline of its own the whole call may take 120 s, or twice the limit on silence.
    """
    silence = timeout_seconds or default
    end = deadline_seconds or max(DEADLINE_SECONDS, 2 * silence)
    return Limits(min(silence, end, CONNECT_TIMEOUT_SECONDS), min(silence, end), end)


class _NoCookies(httpx.Cookies):
    """Keeps none: a cookie set for one person would be sent with the next one's call."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Ignore what an answer sets."""


class _Client(httpx.Client):
    """An httpx client whose cookies stay empty.

    httpx would copy each request for its jar of cookies, which costs 30 us per call.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._none = _NoCookies()

    @property  # type: ignore[misc]  # httpx's can be set
    def cookies(self) -> httpx.Cookies:
        """Those that a request gets, which is none."""
        return self._none


def open_client(
    transport: httpx.BaseTransport, headers: Mapping[bytes, bytes] | None = None, hooks: EventHooks | None = None
) -> httpx.Client:
    """Return a client over `transport`. It keeps no cookie, follows no redirect and reads no environment."""
    return _Client(
        transport=transport,
        headers=list({**HEADERS, **(headers or {})}.items()),
        event_hooks={name: list(each) for name, each in (hooks or {}).items()},
        follow_redirects=False,
        trust_env=False,
        timeout=None,  # the transport has the limits
    )


def strict_transport(
    rules: NetworkRules, timeout_seconds: float | None = None, deadline_seconds: float | None = None
) -> StrictTransport:
    """Return the transport for calls under these rules. Raises ConfigurationError."""
    return StrictTransport(rules, limits(timeout_seconds, deadline_seconds))


def connector_error(raised: httpx.RequestError, *, changed: bool) -> ConnectorError:
    """Return what a call without an answer means.

    `changed`: the call may have changed something if it reached the vendor.
    """
    cause = raised.__cause__
    match raised:
        case TargetRefused():
            return TemporarilyUnavailable("address_refused")
        case Unsendable():
            return RequestRefused("unsendable")
        case BodyTooLarge():
            return AnswerNotUnderstood("body_too_large", status=raised.status, effect_unknown=changed)
        case Undecodable():
            return AnswerNotUnderstood("undecodable", status=raised.status, effect_unknown=changed)
        case httpx.ProxyError():
            return TemporarilyUnavailable("proxy_refused")
        case httpx.ConnectError() if isinstance(cause, AddressRefused):
            return TemporarilyUnavailable("address_refused")
        case httpx.ConnectError() if isinstance(cause, NotTrusted):
            return TemporarilyUnavailable("tls_not_trusted")
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.UnsupportedProtocol():
            return TemporarilyUnavailable("no_connection")
        case httpx.TimeoutException() if isinstance(cause, DeadlinePassed):
            return TemporarilyUnavailable("deadline_passed", effect_unknown=changed)
        case httpx.TimeoutException():
            return TemporarilyUnavailable("timeout", effect_unknown=changed)
    return TemporarilyUnavailable("connection_lost", effect_unknown=changed)
