"""The stand-in's front door: tokens, their end, the API's version, limits and the journal of what overlaps.

Sources: OAuth 2.0 client credentials, JWT bearer and refresh token flows (Salesforce Help); REST API Developer Guide,
"Limits", "Status Codes" (read 2026-11-22). Unconfirmed: how long an assertion's `exp` may lie ahead (5 minutes here).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from connectors.salesforce.sandbox.locks import lock_keys, overlapping_ids
from connectors.salesforce.sandbox.org import OrgSandbox
from connectors.salesforce.sandbox.wire import not_found, parse_instant, refuse
from connectors.testing.sandbox import ApiError, Call, Result, route

CONSUMER_KEY = "sandbox-consumer-key"
CONSUMER_SECRET = "sandbox-consumer-secret"  # noqa: S105 - opens the stand-in only
REFRESH_TOKEN = "sandbox-refresh-token"  # noqa: S105 - opens the stand-in only
USERNAME = "integration@example.test"
VERSION = re.compile(r"/services/data/v(?P<version>\d+\.0)(?P<rest>/.*)?")
MAX_URI_BYTES = 16_384
_MOST_AT_ONCE = 25
_ASSERTION_SECONDS = 300
_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_VERSIONS = range(31, 69)
_AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")


def _oauth_error(code: str, description: str) -> ApiError:
    return ApiError(400, {"error": code, "error_description": description})


class OAuthSandbox(OrgSandbox):
    """Tokens and what every call has to pass."""

    _running: Call | None = None

    def handle(self, call: Call) -> Result:
        """Authorize, route and run one call; every answer of the API says how much of the day's calls is used."""
        self.advance()
        self.let_arrive()
        self.store.forget_undo()
        self._running, self.locked_elsewhere = call, None
        call = _without_trailing_slash(call)
        result = super().handle(call)
        if not VERSION.match(call.path):
            return result
        used = f"api-usage={self.state['api_calls']}/{self._daily_limit()}"
        return Result(result.status, result.body, {"sforce-limit-info": used, **result.headers})

    def locks_of_others(self) -> frozenset[str]:
        """What calls that have come and aren't answered hold, and jobs that aren't done."""
        call = self._running
        if call is None:
            return frozenset()
        own = {"method": call.method, "path": call.path, "body": call.body.decode("utf-8", "replace")}
        return self.keys_of(overlapping_ids(self.journal, own) | self.ids_in_running_jobs())

    def keys_of(self, ids: set[str]) -> frozenset[str]:
        """All that writing these records locks."""
        keys: set[str] = set()
        for record_id in ids:
            keys |= lock_keys(self.store, record_id)
        return frozenset(keys)

    def ids_in_running_jobs(self) -> set[str]:
        """Ids that bulk jobs are working on now."""
        raise NotImplementedError

    def authorize(self, call: Call) -> None:
        """Everything but the token endpoint and the list of versions needs a live token; SOAP carries its own."""
        if call.path in ("/services/oauth2/token", "/services/data"):
            return
        self._refuse_long_uri(call)
        if call.path.startswith("/services/Soap/"):
            return
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in ("bearer", "oauth") or not self.is_live(token):
            raise refuse(401, "INVALID_SESSION_ID", "Session expired or invalid")
        self._check_version(call)
        self.count_call()

    def count_call(self) -> None:
        """One more of the day's calls. Raises ApiError(403) when there are none left."""
        # Salesforce counts calls of 20 s and more only.
        running = sum(e["status"] is None and e["fault"] in (None, "stall") for e in self.journal[-_MOST_AT_ONCE * 4 :])
        if running > int(self.options.get("concurrent_limit", _MOST_AT_ONCE)):
            raise refuse(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
        if self.state["api_calls"] >= self._daily_limit():
            raise refuse(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        self.state["api_calls"] += 1

    def _daily_limit(self) -> int:
        return int(self.options.get("daily_limit", 100_000))

    def is_live(self, token: str) -> bool:
        """True for a token that hasn't ended: by age (`token_seconds`) or by use (`token_calls`)."""
        known = self.state["tokens"].get(token)
        if known is None:
            return False
        age = (self.now() - parse_instant(known["issued_at"])).total_seconds()
        uses = self.options.get("token_calls")
        if age >= float(self.options.get("token_seconds", 7_200)) or (uses is not None and known["uses"] >= uses):
            del self.state["tokens"][token]
            return False
        known["uses"] += 1
        return True

    def revoke_tokens(self) -> None:
        """End every session now."""
        self.state["tokens"].clear()

    def _check_version(self, call: Call) -> None:
        match = VERSION.fullmatch(call.path)
        if match is None or not self.has_version(match["version"]):
            raise not_found()

    def has_version(self, version: str) -> bool:
        """True for the version that option `api_version` pins, or without it for any that still works."""
        pinned = self.options.get("api_version")
        return version == str(pinned) if pinned is not None else float(version) in _VERSIONS

    def _refuse_long_uri(self, call: Call) -> None:
        uri = len(call.path) + (1 + len(urlencode(call.query_list)) if call.query_list else 0)
        if uri > MAX_URI_BYTES:
            raise ApiError(414, b"<html><body>URI Too Long</body></html>", {"content-type": "text/html"})
        if uri + sum(len(k) + len(v) + 4 for k, v in call.headers.items()) > MAX_URI_BYTES:
            raise ApiError(431, b"<html><body>Header Fields Too Large</body></html>", {"content-type": "text/html"})

    @route("GET", "/services/data")
    def versions(self, call: Call) -> Result:
        """The versions that this org speaks; needs no token."""
        numbers = [n for n in _VERSIONS if self.has_version(f"{n}.0")]
        return Result(200, [{"label": str(n), "url": f"/services/data/v{n}.0", "version": f"{n}.0"} for n in numbers])

    @route("POST", "/services/oauth2/token")
    def issue_token(self, call: Call) -> Result:
        """A token for client credentials, a signed assertion, or a refresh token."""
        if call.headers.get("content-type", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise _oauth_error("invalid_request", "the body is a form")
        form = dict(parse_qsl(call.body.decode("utf-8", "replace")))
        grant = form.get("grant_type")
        if grant == "client_credentials":
            self._check_client(call, form, needs_secret=True)
        elif grant == _JWT:
            self._check_assertion(call, form.get("assertion", ""))
        elif grant == "refresh_token":
            self._check_client(call, form, needs_secret=False)
            if not hmac.compare_digest(form.get("refresh_token", ""), self._known("refresh_token", REFRESH_TOKEN)):
                raise _oauth_error("invalid_grant", "expired access/refresh token")
        else:
            raise _oauth_error("unsupported_grant_type", "grant type not supported")
        token = f"00D5g0000000001!{secrets.token_urlsafe(48)}"
        self.state["tokens"][token] = {"issued_at": self.stamp(), "uses": 0}
        instance = str(self.options.get("instance_url") or self._root(call))
        identity = f"{instance}/id/00D5g0000000001AAA/{self.state['running_user']}"
        body = {"access_token": token, "instance_url": instance, "id": identity, "token_type": "Bearer"}
        return Result(200, {**body, "scope": "api refresh_token", "issued_at": str(int(self.now().timestamp() * 1000))})

    @staticmethod
    def _root(call: Call) -> str:
        scheme = call.headers.get("x-forwarded-proto", "http")
        return f"{scheme}://{call.headers.get('host', '127.0.0.1')}{call.headers.get('x-forwarded-prefix', '')}"

    def _known(self, name: str, default: str) -> str:
        return str(self.options.get(name, default))

    def _check_client(self, call: Call, form: Mapping[str, str], *, needs_secret: bool) -> None:
        key, secret = form.get("client_id"), form.get("client_secret")
        scheme, _, value = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                key, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
            except ValueError:
                raise _oauth_error("invalid_client", "invalid client credentials") from None
        if key != self._known("consumer_key", CONSUMER_KEY):
            raise _oauth_error("invalid_client_id", "client identifier invalid")
        if secret is None and not needs_secret:
            return
        if secret != self._known("consumer_secret", CONSUMER_SECRET):
            raise _oauth_error("invalid_client", "invalid client credentials")

    def _check_assertion(self, call: Call, assertion: str) -> None:
        """RS256 by option `public_key` (PEM); issuer, user, audience and end are checked as documented."""
        pem = self.options.get("public_key")
        try:
            head, payload, signature = assertion.split(".")
            header, claims = json.loads(_decoded(head)), json.loads(_decoded(payload))
            key = load_pem_public_key(str(pem).encode()) if pem is not None else None
            if header.get("alg") != "RS256" or not isinstance(key, rsa.RSAPublicKey):
                raise _oauth_error("invalid_grant", "invalid assertion")
            key.verify(_decoded(signature), f"{head}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, binascii.Error, InvalidSignature):
            raise _oauth_error("invalid_grant", "invalid assertion") from None
        if claims.get("iss") != self._known("consumer_key", CONSUMER_KEY):
            raise _oauth_error("invalid_client_id", "client identifier invalid")
        if claims.get("sub") != self._known("username", USERNAME):
            raise _oauth_error("invalid_grant", "user hasn't approved this consumer")
        if claims.get("aud") not in (*_AUDIENCES, self._root(call), *self.options.get("audiences", ())):
            raise _oauth_error("invalid_grant", "audience is invalid")
        left = _seconds(claims.get("exp")) - self.now().timestamp()
        if not 0 < left <= _ASSERTION_SECONDS:
            raise _oauth_error("invalid_grant", "assertion is expired or ends too late")

    @route("GET", "/services/data/{version}/limits")
    def limits(self, call: Call) -> Result:
        """What is left of the day's calls and of other allowances."""
        most = self._daily_limit()
        rest = {"Max": most, "Remaining": max(0, most - self.state["api_calls"])}
        bulk = {"Max": 15_000, "Remaining": 15_000 - len(self.state["jobs"])}
        return Result(200, {"DailyApiRequests": rest, "DailyBulkV2QueryJobs": dict(bulk), "DailyBulkApiBatches": bulk})

    @route("GET", "/services/data/{version}/limits/recordCount")
    def record_counts(self, call: Call) -> Result:
        """Numbers of live rows as of the last seed, as they are yesterday's in a real org: no proof of anything."""
        wanted = [name for name in call.query.get("sObjects", "").split(",") if name]
        counts = []
        for found in self.visible.objects.values():
            live = self.state["counted"].get(found.name, 0) if found.may("queryable") else 0
            if (live or wanted) and (not wanted or found.name in wanted):
                counts.append({"name": found.name, "count": live})
        return Result(200, {"sObjects": counts})

    def not_found(self, call: Call) -> Result:
        """A path that isn't there, or not by this method."""
        return not_found().result


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _seconds(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _without_trailing_slash(call: Call) -> Call:
    path = call.path.rstrip("/") or "/"
    return Call(call.method, path, call.query, call.query_list, call.headers, call.body, call.path_values)
