"""A vendor's stand-in: a class with a JSON-like `state`, routes, and strictness of its own.

The harness decides routing, the journal and the faults; the stand-in decides everything the vendor would. Handlers run
one at a time on one thread, so a stand-in needs no locks.
"""

from __future__ import annotations

import copy
import json
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote

from connectors.testing.sandbox.faults import Fault
from connectors.testing.sandbox.limits import EnforcedLimit


@dataclass(frozen=True)
class Call:
    """One request as a handler sees it. `path_values` are the decoded `{name}` parts of the route."""

    method: str
    path: str
    query: Mapping[str, str]
    query_list: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    path_values: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body as JSON; a stand-in refuses anything else with 400."""
        if self.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise ApiError(415, {"error": "content-type must be application/json"})
        try:
            return json.loads(self.body)
        except ValueError:
            raise ApiError(400, {"error": "body is not JSON"}) from None


@dataclass(frozen=True)
class Result:
    """A handler's answer.

    A dict or list body is sent as JSON, bytes as they are, None without content.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ApiError(Exception):
    """An answer that ends a handler at once."""

    def __init__(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(status))
        self.result = Result(status, body, headers or {})


Handler = Callable[[Any, Call], Result]


def route(method: str, template: str) -> Callable[[Handler], Handler]:
    """Mark a method as the handler of one route; `{name}` matches one path segment (decoded)."""

    def mark(handler: Handler) -> Handler:
        routes = getattr(handler, "_routes", [])
        handler._routes = [*routes, (method, template)]  # type: ignore[attr-defined]  # a mark on the function
        return handler

    return mark


@dataclass(frozen=True)
class ManualSetup:
    """How a stand-in is run by hand: `options` for it, and what a `[[systems]]` entry needs to reach it.

    `entry` holds the entry's further keys (`credentials`, `delays`, ...); `base_path` follows the stand-in's address in
    `base_url`. Delays are short, and the same on both sides: nobody waits minutes for a stand-in.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)
    base_path: str = ""


class Sandbox:
    """A stateful stand-in of one vendor account. Subclass it in the vendor's `sandbox.py`.

    `options` are a stand-in's own switches (for example `{"purge_seconds": 2}`); delays declared by the connector are
    overridden by the same values here and in the system's configuration. `state` holds only JSON-like values.
    """

    name: ClassVar[str]
    manual: ClassVar[ManualSetup] = ManualSetup()

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.options: dict[str, Any] = dict(options or {})
        self.faults: list[Fault] = []
        self.enforced_limits: list[EnforcedLimit] = []
        self.journal: list[dict[str, Any]] = []
        self.latency_seconds = 0.0
        self.clock_offset = timedelta(0)
        self.state: dict[str, Any] = self.empty_state()
        self._routes = self._collect()

    def empty_state(self) -> dict[str, Any]:
        """An account without data."""
        raise NotImplementedError

    def seed(self, data: Any) -> None:
        """Put people and records in, in the stand-in's own documented form."""
        raise NotImplementedError

    def authorize(self, call: Call) -> None:
        """Refuse (`raise ApiError(401, ...)`) as the vendor would."""
        raise NotImplementedError

    def not_found(self, call: Call) -> Result:
        """The vendor's answer to a path that it doesn't have."""
        return Result(404, {"error": "not found"})

    def residue(self, values: set[str]) -> list[dict[str, Any]]:
        """Return the ground truth: stored records that hold one of `values` anywhere, without regard to case."""
        wanted = {v.casefold() for v in values}
        rows = ((row, json.dumps(row, ensure_ascii=False).casefold()) for row in self.records())
        return [row for row, text in rows if any(w in text for w in wanted)]

    def owned_by(self, values: set[str]) -> list[dict[str, Any]]:
        """The records of the people whose identifiers `values` are, also those that hold none of the values.

        Override it where a record belongs to a person by an id, such as a ticket by its requester.
        """
        return self.residue(values)

    def records(self) -> list[dict[str, Any]]:
        """Every stored record as `{"object": ..., "id": ..., ...}`, recycle bins and tombstones included."""
        raise NotImplementedError

    def blind(self, call: Call, result: Result) -> Result:
        """Return the same call's answer to a credential that sees nothing (200 and empty)."""
        raise NotImplementedError

    def now(self) -> datetime:
        """The stand-in's clock: real time plus what the tests added."""
        return datetime.now(UTC) + self.clock_offset

    def admit(self, call: Call) -> Result:
        """Carry the call out if the enforced limits allow; refuse it as the vendor would if not."""
        waits = [(limit, limit.wait_seconds()) for limit in self.enforced_limits]
        refused = any(wait is not None for _, wait in waits)
        for limit in () if refused else self.enforced_limits:
            limit.accept()
        result = Result(429, {"error": "rate limit exceeded"}) if refused else self.handle(call)
        added = {name: value for limit, wait in waits for name, value in limit.headers(wait).items()}
        return Result(result.status, result.body, {**result.headers, **added}) if added else result

    def handle(self, call: Call) -> Result:
        """Authorize, route and run one call."""
        try:
            self.authorize(call)
            for method, pattern, handler in self._routes:
                match = pattern.fullmatch(call.path)
                if match and method == call.method:
                    values = {k: unquote(v) for k, v in match.groupdict().items()}
                    return handler(self, _with_values(call, values))
            return self.not_found(call)
        except ApiError as error:
            return error.result
        except Exception:
            # The server logs nothing, so a mistake in a stand-in would be an HTTP 500 without a reason.
            traceback.print_exc()
            raise

    def handle_lying(self, call: Call) -> Result:
        """Answer as if the call had been carried out, and carry out nothing."""
        before = copy.deepcopy(self.state)
        try:
            return self.handle(call)
        finally:
            self.state = before

    def _collect(self) -> list[tuple[str, re.Pattern[str], Handler]]:
        found: list[tuple[str, re.Pattern[str], Handler]] = []
        for name in dir(type(self)):
            handler = getattr(type(self), name)
            for method, template in getattr(handler, "_routes", ()):
                pattern = re.sub(
                    r"\{(\w+)\}", r"(?P<\1>[^/]+)", re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
                )
                found.append((method, re.compile(pattern), handler))
        # Literal routes first: `/users/search` before `/users/{id}`.
        return sorted(found, key=lambda entry: entry[1].pattern.count("(?P<"))


def _with_values(call: Call, values: Mapping[str, str]) -> Call:
    return Call(call.method, call.path, call.query, call.query_list, call.headers, call.body, values)


def parse_call(method: str, raw_path: str, query: bytes, headers: Mapping[str, str], body: bytes) -> Call:
    """Build a Call from the parts of an HTTP request. `raw_path` stays encoded for routing."""
    pairs = tuple(parse_qsl(query.decode("ascii"), keep_blank_values=True))
    return Call(method, raw_path, dict(pairs), pairs, headers, body)
