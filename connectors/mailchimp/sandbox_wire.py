"""The form of Mailchimp's answers, shared by the parts of its stand-in.

Problem documents, pages, chosen fields.
"""

from __future__ import annotations

import uuid
from typing import Any

from connectors.testing.sandbox import ApiError, Call, Result, Sandbox

API_KEY = "sandbox-key-us1"
_PROBLEM_TYPE = "https://mailchimp.com/developer/marketing/docs/errors/"
NOT_FOUND = (404, "Resource Not Found", "The requested resource could not be found.")


def problem(status: int, title: str, detail: str) -> Result:
    """An error as Mailchimp sends it: RFC 7807 with its own media type."""
    body = {"type": _PROBLEM_TYPE, "title": title, "status": status, "detail": detail, "instance": str(uuid.uuid4())}
    return Result(status, body, {"content-type": "application/problem+json; charset=utf-8"})


def refuse(status: int, title: str, detail: str) -> ApiError:
    """The same, to be raised."""
    result = problem(status, title, detail)
    return ApiError(result.status, result.body, result.headers)


class WireSandbox(Sandbox):
    """The parts that every route of the stand-in needs."""

    def not_found(self, call: Call) -> Result:
        """The same document as for a member that isn't there: only the path tells them apart."""
        return problem(*NOT_FOUND)

    def only(self, call: Call, allowed: frozenset[str]) -> None:
        """Refuse query parameters that the call doesn't have."""
        if not set(call.query) <= allowed:
            raise refuse(400, "Invalid Resource", "The query has a parameter that is not known.")

    def body(self, call: Call) -> dict[str, Any]:
        """The JSON object of a call, or Mailchimp's refusal."""
        try:
            data = call.json()
        except ApiError:
            raise refuse(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.") from None
        if not isinstance(data, dict):
            raise refuse(400, "Invalid Resource", "Schema describes object, array found instead")
        return data

    def page(self, call: Call, name: str, rows: list[dict[str, Any]], **more: Any) -> Result:
        """One page of a collection; `count` is 10 unless said, and 1,000 at most."""
        try:
            count, offset = int(call.query.get("count", "10")), int(call.query.get("offset", "0"))
        except ValueError:
            raise refuse(400, "Invalid Resource", "count and offset are integers.") from None
        if not 0 <= count <= 1000 or offset < 0:
            raise refuse(400, "Invalid Resource", "count is at most 1000, offset at least 0.")
        count = min(count, self.options.get("rows_per_page", 1000))
        body = {name: rows[offset : offset + count], **more, "total_items": len(rows)}
        return Result(200, chosen(body, call.query.get("fields")))


def chosen(body: Any, fields: str | None) -> Any:
    """Only the fields that `fields` names; a dot leads into an object or into every object of an array."""
    if not fields:
        return body
    tree: dict[str, Any] = {}
    for name in fields.split(","):
        branch = tree
        for part in name.split("."):
            branch = branch.setdefault(part, {})
    return _pruned(body, tree)


def _pruned(value: Any, tree: dict[str, Any]) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_pruned(item, tree) for item in value]
    if isinstance(value, dict):
        return {k: _pruned(v, tree[k]) for k, v in value.items() if k in tree}
    return value
