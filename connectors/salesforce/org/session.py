"""The requests session under simple-salesforce, over the strict httpx client: counted calls, renewed tokens, and errors
named after what comes next. simple-salesforce's own exceptions never arise: they would print what was sent.

Decides what a status means for every call alike. What rows and queries answer is read by those who asked.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import requests

from connectors.base.config import SystemConfig
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.outbound.client import connector_error, limits
from connectors.base.outbound.transport import MAX_BODY_BYTES, StrictTransport
from connectors.base.pacing import retry_after_seconds
from connectors.base.toolkit.http_dates import parse_http_date
from connectors.base.toolkit.vendor_json import is_vendor_json, parse_vendor_json, without_lone_surrogates
from connectors.salesforce.httpx_adapter import HttpxAdapter

# Both log URLs, and URLs carry identifiers.
for _name in ("urllib3", "simple_salesforce", "requests"):
    logging.getLogger(_name).setLevel(logging.WARNING)

TIMEOUT_SECONDS = 60.0  # a query may think for long; Salesforce itself ends it after 120 s
_USAGE = re.compile(r"api-usage=(\d{1,18})/(\d{1,18})")
_MEDIA_TYPES = ("application/json", "text/csv", "text/xml", "application/xml")
_BUSY_CODES = frozenset({"REQUEST_LIMIT_EXCEEDED", "SERVER_UNAVAILABLE", "QUERY_TIMEOUT", "UNABLE_TO_LOCK_ROW"})
_LIMIT_RETRY_SECONDS = 3600.0


class SalesforceSession(requests.Session):
    """The session of one org.

    `renew` gives a bearer token; it receives the refused token and is asked once more. Threads may share it.

    `share`: of the org's daily calls, the part after which we stop, so that other integrations have theirs. The
    system's pacer is asked before every call and told of every answer.
    """

    def __init__(self, system: SystemConfig, *, share: float) -> None:
        """Raises ConfigurationError if the environment's proxy or certificates can't be used."""
        super().__init__()
        self._share = share
        self._pacer = system.pacer
        self._usage: tuple[int, int] | None = None
        self.calls = 0
        self.told_at: datetime | None = None  # the org's clock, as its last answer told it
        self.max_body_bytes = MAX_BODY_BYTES  # of one answer, unpacked
        self.renew: Callable[[str | None], str] | None = None
        self._counting = threading.Lock()
        self.trust_env = False
        self.headers["Accept-Encoding"] = "gzip"
        limit = limits(system.timeout_seconds, system.deadline_seconds, TIMEOUT_SECONDS)
        adapter = HttpxAdapter(StrictTransport(system.network, limit), lambda: self.max_body_bytes)
        for prefix in ("https://", "http://"):
            self.mount(prefix, adapter)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """One call, repeated once under a new token after a 401: a refused token means that nothing was done.

        Raises the connector's errors on every status of 300 and above; `expect` (our own keyword) exempts some.
        """
        expect = kwargs.pop("expect", ())
        anonymous = kwargs.pop("anonymous", False)
        headers = dict(kwargs.pop("headers", None) or {})
        verb = str(method).upper()
        if not anonymous:
            self._check_budget()
        if anonymous or self.renew is None:
            response = self._send(verb, url, headers, *args, **kwargs)
        else:
            token = self.renew(None)
            response = self._send(verb, url, headers | _bearing(token), *args, **kwargs)
            if response.status_code == 401:
                response = self._send(verb, url, headers | _bearing(self.renew(token)), *args, **kwargs)
        if response.status_code not in expect:
            error = error_of(verb, response)
            if error is not None:
                raise error
        return response

    def _send(self, verb: str, url: Any, headers: dict[str, str], *args: Any, **kwargs: Any) -> requests.Response:
        changes = verb not in ("GET", "HEAD")
        if self._pacer is not None:
            self._pacer.before_call(changes=changes)
        with self._counting:
            self.calls += 1
        said: dict[str, str] = {}
        error: ConnectorError | None = None
        try:
            response = self._exchange(verb, url, headers, changes, args, kwargs)
            said = {name.lower(): value for name, value in response.headers.items()}
            error = error_of(verb, response)
        except ConnectorError as raised:
            error = raised
            raise
        finally:
            if self._pacer is not None:
                self._pacer.after_call(said, error)
        return response

    def _exchange(
        self, verb: str, url: Any, headers: dict[str, str], changes: bool, args: Any, kwargs: Any
    ) -> requests.Response:
        kwargs.update(allow_redirects=False, headers=headers)
        try:
            response = super().request(verb, url, *args, **kwargs)
        except httpx.RequestError as raised:
            raise connector_error(raised, changed=changes) from None
        except (requests.exceptions.RequestException, httpx.InvalidURL):
            # Nothing of requests speaks over the network any more: it found that the call can't be written down.
            raise RequestRefused("unsendable") from None
        response._content = without_lone_surrogates(response.content)  # requests sets it, too
        usage = _USAGE.search(response.headers.get("Sforce-Limit-Info", ""))
        self._usage = (int(usage[1]), int(usage[2])) if usage else self._usage
        self.told_at = parse_http_date(response.headers.get("Date"))
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: where an answer would have us go is of no interest."""
        return None

    def _check_budget(self) -> None:
        if self._usage is not None and self._usage[0] >= self._usage[1] * self._share:
            self._usage = None  # the next attempt asks once, and learns whether a new day has begun
            raise TemporarilyUnavailable("daily_call_budget", retry_after_seconds=_LIMIT_RETRY_SECONDS)


def _bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def error_of(verb: str, response: requests.Response) -> ConnectorError | None:
    """Return the error that a status means; None for a success in a form that can be read."""
    status, unknown = response.status_code, verb not in ("GET", "HEAD")
    wait = retry_after_seconds({k.lower(): v for k, v in response.headers.items()})
    if status < 300:
        return None if is_readable(response) else AnswerNotUnderstood("not_readable", status=status)
    if status < 400:
        return AnswerNotUnderstood("redirect", status=status)
    codes = error_codes(response)
    if status == 403 and "REQUEST_LIMIT_EXCEEDED" in codes:
        return TemporarilyUnavailable(
            "daily_limit", status=status, retry_after_seconds=_LIMIT_RETRY_SECONDS if wait is None else wait
        )
    if status in (401, 403):
        return CredentialsRefused("unauthorized" if status == 401 else "forbidden", status=status)
    if status == 429 or codes & _BUSY_CODES:
        return TemporarilyUnavailable("rate_limited", status=status, retry_after_seconds=wait)
    if status in (408, 425) or status >= 500:
        return TemporarilyUnavailable(
            "vendor_unavailable", status=status, effect_unknown=unknown, retry_after_seconds=wait
        )
    if status in (404, 410):
        # Every resource that we call exists in every org of this version: another place was asked.
        return AnswerNotUnderstood("no_such_resource", status=status)
    return RequestRefused("refused", status=status)


def error_codes(response: requests.Response) -> frozenset[str]:
    """The vendor's own codes of a refused call, as far as they can be read."""
    try:
        body = parse_vendor_json(response.content)
    except AnswerNotUnderstood:
        return frozenset()
    rows = body if isinstance(body, list) else [body]
    return frozenset(str(r.get("errorCode") or r.get("error")) for r in rows if isinstance(r, dict))


def is_readable(response: requests.Response) -> bool:
    """True if the body is of a kind that we ask for.

    JSON must parse: simple-salesforce would print a body that doesn't.
    """
    if response.status_code in (204, 205) or not response.content:
        return True
    media_type = response.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        return False
    if media_type != "application/json":
        return True
    return is_vendor_json(response.content)
