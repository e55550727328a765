"""Rows of steps as their readers know them: a whole step, and the columns that each writer needs.

Decides nothing. A statement's row becomes a NamedTuple where it is read; a function that takes a step names the columns
that it reads by a Protocol, so that the lease and the record may read fewer columns than an event of a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID


class LockedStep(Protocol):
    """The columns of a locked step's row that the store reads. Counts and lists may be empty or None."""

    @property
    def id(self) -> UUID: ...
    @property
    def version(self) -> int: ...
    @property
    def entry_hash(self) -> bytes | None: ...
    @property
    def erased(self) -> Mapping[str, int] | None: ...
    @property
    def remaining(self) -> Mapping[str, int] | None: ...
    @property
    def not_covered(self) -> Sequence[str] | None: ...
    @property
    def request_id(self) -> UUID: ...


class WholeStep(LockedStep, Protocol):
    """The columns of a locked step's row that the rule reads outside a lease's result."""

    @property
    def phase(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def due_at(self) -> datetime | None: ...
    @property
    def plan_version(self) -> int | None: ...
    @property
    def located(self) -> bool: ...
    @property
    def waits_for_order(self) -> bool: ...
    @property
    def consecutive_attempts(self) -> int: ...
    @property
    def plan_rounds(self) -> int: ...
    @property
    def effect_possible(self) -> bool: ...
    @property
    def retained(self) -> str | None: ...


class StartingStep(Protocol):
    """A locked step, or one that isn't written yet."""

    @property
    def id(self) -> UUID: ...
    @property
    def request_id(self) -> UUID: ...
    @property
    def version(self) -> int: ...
    @property
    def entry_hash(self) -> bytes | None: ...


class MovedStep(Protocol):
    """The columns of a step, as it was before its transition, that decide whether its request is checked."""

    @property
    def id(self) -> UUID: ...
    @property
    def request_id(self) -> UUID: ...
    @property
    def phase(self) -> str: ...
    @property
    def plan_version(self) -> int | None: ...
    @property
    def waits_for_order(self) -> bool: ...


class StoredStep(NamedTuple):
    """The columns of a step that the rule and the store of steps read."""

    id: UUID
    request_id: UUID
    system: str
    position: int
    phase: str
    state: str
    reason: str | None
    due_at: datetime | None
    batch_id: UUID | None
    plan_version: int | None
    located: bool
    waits_for_order: bool
    consecutive_attempts: int
    plan_rounds: int
    effect_possible: bool
    retained: str | None
    erased: Mapping[str, int]
    remaining: Mapping[str, int]
    not_covered: Sequence[str]
    version: int
    entry_hash: bytes | None
