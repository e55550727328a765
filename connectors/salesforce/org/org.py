"""One org: the token, simple-salesforce on our session, and calls that simple-salesforce doesn't have.

Decides how calls are worded; their callers decide their purpose.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from simple_salesforce.api import Salesforce

from connectors.base.destinations import NetworkRules, UrlRefused, parse_http_url
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.toolkit.http import field_of
from connectors.base.toolkit.vendor_json import parse_vendor_json
from connectors.salesforce.org.grants import SalesforceCredentials, cache_key, token_request
from connectors.salesforce.org.private_cache import PrivateCache
from connectors.salesforce.org.session import SalesforceSession, error_codes, error_of

MAX_SUBREQUESTS = 25
MAX_HEAVY_SUBREQUESTS = 5  # queries; collections count too according to newer texts: the stricter reading is kept
_USER = re.compile(r"/id/(00D\w{12,15})/(005\w{12,15})/?$")
_DEEP_SINCE = 58.0  # sub-selects within sub-selects (SOQL reference, read 2026-11-22)
_DESCRIBE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Subrequest:
    """One part of a composite call; `path` is relative to the API version."""

    method: str
    path: str = field(repr=False)
    body: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Subanswer:
    """Status and body of one part."""

    status: int
    body: Any = field(repr=False)


@dataclass(frozen=True)
class _Token:
    access_token: str = field(repr=False)
    instance_url: str
    org_id: str
    user_id: str


class Org:
    """Calls to one org under one credential."""

    def __init__(
        self,
        base_url: str,
        network: NetworkRules,
        credentials: SalesforceCredentials,
        version: str,
        cache: PrivateCache,
        session: SalesforceSession,
    ) -> None:
        self.version = version
        self.cache = cache
        self.session = session
        self._base_url = base_url
        self._network = network
        self._credentials = credentials
        self._key = cache_key(credentials, base_url)
        self._token: _Token | None = None
        self._client: Any = None
        self._renewing = threading.RLock()
        self.takes_deep_queries = float(version) >= _DEEP_SINCE  # until it says that one was too much for it
        session.renew = self._bearer

    @property
    def org_id(self) -> str:
        """The org's id, as the token names it."""
        return self._current().org_id

    @property
    def user_id(self) -> str:
        """The id of the user that we are."""
        return self._current().user_id

    @property
    def root(self) -> str:
        """The path of the API version."""
        return f"/services/data/v{self.version}"

    @property
    def client(self) -> Any:
        """simple-salesforce, on our session. Its addresses are set here: it knows https on port 443 only."""
        token = self._current()
        if self._client is None:
            client = Salesforce(
                session_id="renewed-by-the-session",
                instance_url=token.instance_url,
                version=self.version,
                session=self.session,
                object_pairs_hook=dict,
            )
            client.base_url = f"{token.instance_url}{self.root}/"
            client.bulk2_url = f"{client.base_url}jobs/"
            self._client = client
        return self._client

    def composite(self, parts: Sequence[Subrequest]) -> list[Subanswer]:
        """One call, carried out in order; a part that fails doesn't stop the others.

        Source: REST API, Composite: at most 25 parts, 5 of them queries (read 2026-11-22).
        """
        if len(parts) > MAX_SUBREQUESTS:
            raise ValueError("too many subrequests")
        rows = []
        for number, part in enumerate(parts):
            row = {"method": part.method, "url": f"{self.root}/{part.path}", "referenceId": f"r{number}"}
            rows.append(row | ({"body": part.body} if part.body is not None else {}))
        answer = self.client.restful("composite", method="POST", json={"allOrNone": False, "compositeRequest": rows})
        answers = field_of(answer, "compositeResponse", list)
        found = [Subanswer(field_of(a, "httpStatusCode", int), a.get("body")) for a in answers]
        if [a.get("referenceId") for a in answers] != [row["referenceId"] for row in rows]:
            raise AnswerNotUnderstood("composite_parts", effect_unknown=True)
        return found

    def describe_global(self) -> list[Any]:
        """All objects. One call."""
        return field_of(self.client.describe(), "sobjects", list)

    def describe_many(self, names: Sequence[str]) -> list[Any]:
        """Objects' describes, 25 a call."""
        found: list[Any] = []
        self.session.max_body_bytes, usual = _DESCRIBE_BYTES, self.session.max_body_bytes
        try:
            for start in range(0, len(names), MAX_SUBREQUESTS):
                some = names[start : start + MAX_SUBREQUESTS]
                for answer in self.composite([Subrequest("GET", f"sobjects/{name}/describe") for name in some]):
                    if answer.status == 200:
                        found.append(answer.body)
                    elif answer.status != 404:
                        raise part_error(answer)
        finally:
            self.session.max_body_bytes = usual
        return found

    def soap(self, operation: str, inner: str) -> str:
        """Make one SOAP call under the OAuth token; return the answer's text.

        An expired session is a fault there, not a 401.

        Source: SOAP API, SessionHeader takes an OAuth token (005132110, read 2026-11-22).
        """
        token: str | None = None
        for _ in range(2):
            token = self._bearer(token)
            envelope = (
                '<?xml version="1.0" encoding="utf-8"?>'
                '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
                ' xmlns:urn="urn:partner.soap.sforce.com"><soapenv:Header><urn:SessionHeader>'
                f"<urn:sessionId>{escape(token)}</urn:sessionId></urn:SessionHeader></soapenv:Header>"
                f"<soapenv:Body><urn:{operation}>{inner}</urn:{operation}></soapenv:Body></soapenv:Envelope>"
            )
            response = self.session.request(
                "POST",
                f"{self._current().instance_url}/services/Soap/u/{self.version}",
                data=envelope.encode(),
                headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": '""'},
                expect=(500,),
            )
            if response.status_code != 500:
                return response.text
            if "INVALID_SESSION_ID" not in response.text:
                break
        if "INVALID_SESSION_ID" in response.text:
            raise CredentialsRefused("unauthorized")
        if "REQUEST_LIMIT_EXCEEDED" in response.text:
            raise TemporarilyUnavailable("daily_limit", retry_after_seconds=3600)
        if "INSUFFICIENT_ACCESS" in response.text:
            raise CredentialsRefused("missing_scope")
        error = error_of("POST", response)
        raise error or AnswerNotUnderstood("soap_fault")

    def ready(self) -> None:
        """Have a token and a client: threads then only use them."""
        assert self.client is not None

    def _current(self) -> _Token:
        with self._renewing:
            if self._token is None:
                self._token = self._cached() or self._ask()
            return self._token

    def _bearer(self, refused: str | None) -> str:
        """The token in use, or another one than that which was refused."""
        with self._renewing:
            if refused is not None and self._current().access_token == refused:
                cached = self._cached()
                # Another process may have renewed it already, as another thread may have before we came here.
                self._token = cached if cached is not None and cached.access_token != refused else self._ask()
            return self._current().access_token

    def _cached(self) -> _Token | None:
        kept = self.cache.get(self._key)
        return _Token(**kept) if isinstance(kept, dict) and set(kept) == set(_Token.__dataclass_fields__) else None

    def _ask(self) -> _Token:
        """A new token. Shape: POST {base_url}/services/oauth2/token -> {"access_token", "instance_url", "id"}."""
        asked = token_request(self._credentials, self._base_url)
        response = self.session.request(
            "POST",
            f"{self._base_url}/services/oauth2/token",
            data=asked.form,
            auth=asked.basic,
            anonymous=True,
            expect=(400,),
            headers={"Accept": "application/json"},
        )
        if response.status_code == 400:
            known = error_codes(response) - {"None"}
            raise CredentialsRefused("token_refused", status=400) if known else RequestRefused("refused", status=400)
        token = self._parse(parse_vendor_json(response.content))
        self.cache.put(self._key, {name: getattr(token, name) for name in _Token.__dataclass_fields__})
        return token

    def _parse(self, body: Any) -> _Token:
        instance_url = field_of(body, "instance_url", str).rstrip("/")
        try:
            url = parse_http_url(instance_url)
            if url.scheme != "https" and url.scheme != parse_http_url(self._base_url).scheme:
                raise AnswerNotUnderstood("instance_url_not_https")
            self._network.check_target(url.scheme, url.host)
        except UrlRefused:
            # The token would go there, and everything that is asked about people.
            raise AnswerNotUnderstood("instance_url_refused") from None
        who = _USER.search(field_of(body, "id", str))
        if who is None:
            raise AnswerNotUnderstood("token_without_identity")
        return _Token(field_of(body, "access_token", str), instance_url, who[1], who[2])


def part_error(answer: Subanswer) -> ConnectorError:
    """Return the error for one refused part of a composite.

    `codes` are the vendor's, kept only as far as we know them.
    """
    codes = part_codes(answer)
    if codes & {"REQUEST_LIMIT_EXCEEDED", "QUERY_TIMEOUT", "SERVER_UNAVAILABLE", "UNABLE_TO_LOCK_ROW"}:
        return TemporarilyUnavailable("vendor_busy", status=answer.status)
    if codes & {"INVALID_QUERY_LOCATOR"}:
        return TemporarilyUnavailable("cursor_expired", status=answer.status)
    if answer.status in (401, 403) or any(code.startswith("INSUFFICIENT_ACCESS") for code in codes):
        return CredentialsRefused("missing_scope", status=answer.status)
    if answer.status == 429 or answer.status >= 500:
        return TemporarilyUnavailable("vendor_unavailable", status=answer.status, effect_unknown=True)
    return AnswerNotUnderstood("part_refused", status=answer.status)


def part_codes(answer: Subanswer) -> frozenset[str]:
    """The vendor's codes in the refusal of one part."""
    rows = answer.body if isinstance(answer.body, list) else [answer.body]
    return frozenset(str(row.get("errorCode")) for row in rows if isinstance(row, Mapping))
