"""The members of a certificate's file, as far as its pages show them.

Decides nothing: `domain.requests.certificate` decides the claims, `domain.audit.proof_bundle` their proof.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from service.domain.audit.entry import EntryMembers


class Extension(TypedDict):
    """When the deadline was extended, and why."""

    at: str
    reason: str


class Request(TypedDict):
    """The request. Older certificates have no `external_reference` and no `scopes`."""

    id: str
    external_reference: NotRequired[str | None]
    scopes: NotRequired[list[str]]
    kind: str
    regime: str
    state: str
    reason: str | None
    received_at: str
    accepted_at: str
    respond_by: str
    extension: Extension | None
    overdue_at: str | None
    answered_at: str | None
    sealed_at: str | None
    covered_by: str | None


class Verification(TypedDict):
    """How and when an identifier was verified."""

    method: str
    at: str | None


class Identifier(TypedDict):
    """One identifier, without its value."""

    kind: str
    origin: str
    use: str
    verification: Verification | None


class Approval(TypedDict):
    """The API key by which a plan was approved, and when."""

    by: str
    at: str


class Plan(TypedDict):
    """One frozen version of the plan."""

    version: int
    hash: str
    frozen_at: str
    approval_reasons: list[str]
    approval: Approval | None


class Count(TypedDict):
    """A number of records of one object of the vendor."""

    what: str
    count: int


class System(TypedDict):
    """One system's outcome; `standing` until there is one."""

    system: str
    connector: str
    outcome: str | None
    standing: str | None
    reason: str | None
    exempt_for: str | None
    ended_at: str | None
    look_again_at: str | None
    attempts: int
    erased: list[Count]
    left_over: list[Count]
    not_covered: list[str]


class Claims(TypedDict):
    """The claims about the request."""

    subject: str
    final: bool
    issued_at: str
    controller: str
    request: Request
    identifiers: list[Identifier]
    plans: list[Plan]
    systems: list[System]
    open_systems: int


class ProvenEntry(TypedDict):
    """An entry of the log with the hashes of its proof."""

    entry: EntryMembers
    index: int
    proof: list[str]


class Certificate(TypedDict):
    """The file."""

    certificate: Claims
    entries: list[ProvenEntry]
    checkpoint: str
