"""Which rows a write locks in the stand-in, and which are locked by calls and jobs that run at the same time.

Handlers run one at a time, so two calls overlap where the server's latency holds them: the journal knows the calls
that have come and aren't answered. Salesforce locks a changed row, its parents and the account above them, waits about
10 s, then answers UNABLE_TO_LOCK_ROW; here it answers at once. Owners, campaigns and the like aren't modelled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from connectors.salesforce.sandbox.store import Store

_LOCKING_PARENTS = frozenset({"Account", "Contact", "Lead", "Case"})
_ID_IN_PATH = re.compile(r"/sobjects/\w+/([a-zA-Z0-9]{15,18})$")
_LONGEST_OVERLAP = 100


def lock_keys(store: Store, record_id: str) -> frozenset[str]:
    """The record, its parents, and the accounts above those."""
    row = store.row(record_id)
    if row is None:
        return frozenset({record_id})
    keys = {record_id}
    frontier = [row]
    for _ in range(2):
        above: list[dict[str, Any]] = []
        for current in frontier:
            for field in store.object_of(current).fields.values():
                parent = store.row(current.get(field["name"])) if field["type"] == "reference" else None
                if parent is not None and store.object_of(parent).name in _LOCKING_PARENTS:
                    keys.add(parent["Id"])
                    above.append(parent)
        frontier = above
    return frozenset(keys)


def written_ids(method: str, path: str, query: Iterable[tuple[str, str]], body: str) -> set[str]:
    """The ids that a call deletes or changes."""
    path = path.rstrip("/")
    if method not in ("DELETE", "PATCH", "POST"):
        return set()
    if path.endswith("/composite"):
        return _of_composite(body)
    if path.endswith("/composite/sobjects"):
        ids = {i for name, value in query if name == "ids" for i in value.split(",")}
        if method == "PATCH":
            ids |= {str(r.get("id")) for r in _json(body).get("records", []) if isinstance(r, Mapping)}
        return ids
    match = _ID_IN_PATH.search(path)
    return {match[1]} if match and method != "POST" else set()


def _of_composite(body: str) -> set[str]:
    ids: set[str] = set()
    for part in _json(body).get("compositeRequest", []):
        if isinstance(part, Mapping):
            url = urlsplit(str(part.get("url")))
            inner = json.dumps(part.get("body") or {})
            ids |= written_ids(str(part.get("method")), url.path, parse_qsl(url.query), inner)
    return ids


def _json(body: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, Mapping) else {}


def overlapping_ids(journal: list[dict[str, Any]], own: Mapping[str, Any]) -> set[str]:
    """Ids written by the calls that have come and aren't answered, without the one that is handled now."""
    waiting = [
        entry
        for entry in journal[-_LONGEST_OVERLAP:]
        if entry["status"] is None and entry["fault"] in (None, "stall", "drop_after", "half_body")
    ]
    ids: set[str] = set()
    is_own_skipped = False
    for entry in waiting:
        if not is_own_skipped and all(entry[name] == own[name] for name in ("method", "path", "body")):
            is_own_skipped = True
            continue
        ids |= written_ids(entry["method"], entry["path"], entry["query"], entry["body"])
    return ids
