"""Replay the audit log and compare it with the rows: each change of state has exactly one entry that says it.

An eye of the tests' own: it knows nothing of how the service writes entries, only what an entry says.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

from sqlalchemy import Engine, text

from service.domain.audit.entry import decode_entry, digest_of

_TABLES = {"request": "requests", "step": "steps", "hold": "holds", "import": "imports"}
_STATES = {
    "request_settled": "in_progress",
    "request_in_progress": "in_progress",
    "request_linked": "in_progress",
    "review_opened": "in_progress",
    "request_fulfilled": "fulfilled",
    "request_denied": "denied",
    "request_revoked": "revoked",
    "request_expired": "expired",
}


def differences(engine: Engine) -> list[str]:
    """What the log and the rows of requests, steps and holds disagree about; empty if replaying gives the rows."""
    with engine.begin() as connection:
        raw = [bytes(r.entry) for r in connection.execute(text("SELECT entry FROM audit_leaves ORDER BY index"))]
        raw += [bytes(r.entry) for r in connection.execute(text("SELECT entry FROM audit_pending ORDER BY id"))]
        rows = {
            (name, str(row.id)): row
            for name, table in _TABLES.items()
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        }
    chains: dict[tuple[str, str], list[tuple[dict[str, Any], str]]] = defaultdict(list)
    stories: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in raw:
        members = dict(decode_entry(entry))
        chains[members["object"], members["object_id"]].append((members, digest_of(entry)))
        for step_id in members["data"].get("steps", [members["object_id"]]):
            stories[step_id].append(members)
    found = []
    for (name, key), row in rows.items():
        chain = chains.get((name, key), [])
        if not chain and not stories.get(key):
            found.append(f"{name} {key}: no entry")
            continue
        found += [f"{name} {key}: {what}" for what in _compare(name, row, chain)]
        if name == "step":
            found += [f"step {key}: {what}" for what in _compare_step(row, stories[key])]
    return found


def _compare(name: str, row: Any, chain: list[tuple[dict[str, Any], str]]) -> list[str]:
    found = []
    if not chain:
        return [] if (row.version, row.entry_hash) == (0, None) else [f"version {row.version} without an entry"]
    # Entries of one row may be sequenced in any order; their versions are the order.
    chain = sorted(chain, key=lambda link: link[0]["version"])
    if [members["version"] for members, _ in chain] != list(range(1, row.version + 1)):
        found.append(f"version {row.version} with {len(chain)} entries")
    for (_, digest), (after, _) in itertools.pairwise(chain):
        if after["previous"] != digest:
            found.append(f"{after['event']} doesn't follow its predecessor")
    if row.entry_hash is None or bytes(row.entry_hash).hex() != chain[-1][1]:
        found.append("the row's hash is not the last entry's")
    if name == "request" and (said := _request_state([members for members, _ in chain])) != row.state:
        found.append(f"the log says {said}, the row {row.state}")
    return found


def _told(entry: dict[str, Any], step: str) -> dict[str, Any]:
    """What an entry says of a step: its own, or one that tells of many."""
    data = entry["data"]
    if entry["event"] == "request_settled":
        system = data["systems"][data["steps"].index(step)]
        return {"phase": "locate", "state": "waiting" if system in data.get("unsearched", ()) else "due"}
    if entry["event"] in ("plan_frozen", "plan_released"):
        return {"phase": data["phases"][data["steps"].index(step)], "state": "due"}
    return dict(data)


def _compare_step(row: Any, entries: list[dict[str, Any]]) -> list[str]:
    leases = sum(e["event"] == "batch_leased" for e in entries)
    told = [_told(e, str(row.id)) for e in reversed(entries)]
    said = next((data for data in told if data.get("state")), {})
    pairs = [("state", row.state), ("phase", row.phase)]
    if leases != row.attempts:
        return [f"the log tells of {leases} leases, the row of {row.attempts}"]
    if row.state in ("parked", "retained", "accepted", "waiting"):
        pairs.append(("reason", row.reason))
    return [
        f"the log says {name} {said.get(name)}, the row {value}" for name, value in pairs if said.get(name) != value
    ]


def _request_state(entries: list[dict[str, Any]]) -> str:
    state = "open"
    for entry in entries:
        state = _STATES.get(entry["event"], state)
        if entry["event"] == "request_submitted" and entry["data"].get("linked_to"):
            state = "in_progress"
        if entry["event"] == "request_resumed":
            state = "in_progress" if entry["data"].get("reason") == "locating" else "open"
    return state
