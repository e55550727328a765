"""Everything that can be switched on against the connector, by name: faults on the wire and trouble in the org.

Decides how each looks and whether a run ends well in spite of it (`PASSING`) or must say what stays (`LASTING`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.testing.sandbox.faults import Fault, FaultKind

from .connecting import Served


def _refusal(code: str) -> list[dict[str, str]]:
    return [{"message": "refused", "errorCode": code}]


WIRE: Mapping[str, Mapping[str, Any]] = {
    "unavailable": {
        "kind": FaultKind.STATUS,
        "status": 503,
        "retry_after": "0",
        "body": _refusal("SERVER_UNAVAILABLE"),
    },
    "too_many": {
        "kind": FaultKind.STATUS,
        "status": 429,
        "retry_after": "0",
        "body": _refusal("REQUEST_LIMIT_EXCEEDED"),
    },
    "day_is_over": {"kind": FaultKind.STATUS, "status": 403, "body": _refusal("REQUEST_LIMIT_EXCEEDED")},
    "broken": {"kind": FaultKind.STATUS, "status": 500},
    "unauthorized": {"kind": FaultKind.STATUS, "status": 401, "body": _refusal("INVALID_SESSION_ID")},
    "not_found": {"kind": FaultKind.STATUS, "status": 404, "body": _refusal("NOT_FOUND")},
    "stall": {"kind": FaultKind.STALL, "seconds": 0.5},
    "drop_before": {"kind": FaultKind.DROP_BEFORE},
    "drop_after": {"kind": FaultKind.DROP_AFTER},
    "half_body": {"kind": FaultKind.HALF_BODY},
    "html": {"kind": FaultKind.HTML},
    "huge": {"kind": FaultKind.HUGE, "seconds": 11},
    "redirect": {"kind": FaultKind.REDIRECT},
    "lie": {"kind": FaultKind.LIE},
    "blind": {"kind": FaultKind.BLIND},
}
TIMEOUT_SECONDS = 0.25  # of a client against whom calls stall


@dataclass(frozen=True)
class Trouble:
    """One trouble in the org: options for it, and what is done to the org once the world is there."""

    options: Mapping[str, Any]
    policy: Mapping[str, Any]
    switch_on: Callable[[Served], None] = lambda org: None


def _conflicts(org: Served) -> None:
    org.sandbox.options["lock_conflicts"] = dict.fromkeys(_ids(org, "case0", "file0", "mail0", ""), 2)


def _ids(org: Served, *names: str) -> list[str]:
    """Records of the first ordinary person; an empty name is the contact."""
    return [org.sandbox.id_of(f"p0-{name}" if name else "p0") for name in names]


PASSING: Mapping[str, Trouble] = {
    "tokens_end_early": Trouble({"token_calls": 2}, {}),
    "tiny_pages": Trouble({"page_rows": 5, "nested_page_rows": 2}, {}),
    "purged_rows_are_shown": Trouble({"confirm_after": 0.2}, {}),
    "slow_jobs": Trouble({"job_seconds": 0.05, "permissions": {"bulk_hard_delete": True}}, {"bulk_from": 2}),
    "failing_jobs": Trouble({"failing_jobs": 2, "permissions": {"bulk_hard_delete": True}}, {"bulk_from": 2}),
    "jobs_not_permitted": Trouble({}, {"bulk_from": 1}),
    "small_cascades": Trouble({"cascade_limit": 2}, {}),
    "lock_conflicts": Trouble({}, {}, _conflicts),
    "bin_blocks": Trouble({"deleted_children_block": True}, {}),
    "arrivals": Trouble({}, {}, lambda org: arrive(org)),
}


def _option(name: str, value: Callable[[Served], Any]) -> Callable[[Served], None]:
    return lambda org: org.sandbox.options.update({name: value(org)})


LASTING: Mapping[str, Trouble] = {
    "locked": Trouble({}, {}, _option("locked", lambda org: _ids(org, "case0"))),
    "vetoed": Trouble(
        {}, {}, _option("vetoes", lambda org: {_ids(org, "card")[0]: "FIELD_CUSTOM_VALIDATION_EXCEPTION"})
    ),
    "too_large": Trouble({}, {}, _option("too_large", lambda org: _ids(org, "case1"))),
    "root_not_permitted": Trouble({}, {}, _option("vetoes", lambda org: {_ids(org, "")[0]: "INSUFFICIENT_ACCESS"})),
    "root_locked": Trouble({}, {}, _option("locked", lambda org: _ids(org, "lead"))),
}


def arrive(org: Served, after_deletions: int = 1) -> None:
    """After the first deletions something new of the person comes in: a case with a comment, and a lead."""
    person = org.world.people["p0"]
    entries = [
        {"object": "Case", "ref": "late", "person": "p0", "fields": {"ContactId": "@p0", "Status": "New"}},
        {"object": "CaseComment", "person": "p0", "fields": {"ParentId": "@late", "CommentBody": person.canary}},
        {"object": "Lead", "ref": "late-lead", "person": "p0", "fields": {"LastName": person.canary, "Company": "x"}},
    ]
    entries[-1]["fields"] |= {"Status": "New", "Email": person.emails[0]}  # type: ignore[operator]
    org.sandbox.options["arrivals"] = [{"after_deletions": after_deletions, "records": entries}]


def wire_faults(name: str, *, first: int, every: int, calls: int) -> list[Fault]:
    """This fault at the call `first` and then at every `every`th, of so many calls in all."""
    return [Fault(**WIRE[name], skip=skip) for skip in range(first, calls, every)]
