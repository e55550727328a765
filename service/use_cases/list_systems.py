"""Show the connected systems: what each one's connector declares, and how its last check went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from connectors.base.interface import Declaration, Delays, Operation
from connectors.base.registry import connectors
from service.settings import Settings
from service.storage.stores import Stores


@dataclass(frozen=True)
class DeclarationView:
    """What a connector says of itself and its vendor. Delays are those in force for this system."""

    level: str
    operations: list[str]
    identifier_kinds: list[str]
    erases_by: str
    max_subjects_per_call: dict[str, int]
    can_confirm: bool
    suppress_first: bool
    confirm_after_seconds: float
    poll_every_seconds: float
    purge_after_seconds: float
    required_scopes: list[str]
    not_covered: list[str]


@dataclass(frozen=True)
class SystemView:
    """A system. `declaration` is None for one whose connector isn't installed any more."""

    name: str
    connector: str
    state: str
    position: int
    max_concurrency: int
    checked_at: datetime | None
    check_result: str | None
    declaration: DeclarationView | None


def list_systems(stores: Stores, settings: Settings) -> list[SystemView]:
    """All systems, in the order in which they are worked on; removed ones, too, since steps may wait for them."""
    with stores.engine.begin() as connection:
        rows = connection.execute(text("SELECT * FROM systems ORDER BY position, name")).all()
    return [_view(row, settings) for row in rows]


def _view(row: Row[Any], settings: Settings) -> SystemView:
    kind = connectors().get(row.connector)
    return SystemView(
        name=row.name,
        connector=row.connector,
        state=row.state,
        position=row.position,
        max_concurrency=row.max_concurrency,
        checked_at=row.checked_at,
        check_result=row.check_result,
        declaration=None if kind is None else _declared(kind.declaration, row.name, settings),
    )


def _declared(declaration: Declaration, name: str, settings: Settings) -> DeclarationView:
    configured = {s.config.name: s.config.delays for s in settings.systems}.get(name, {})

    def seconds(delay: str) -> float:
        declared: Delays = declaration.delays
        return float(configured.get(delay, getattr(declared, delay)).total_seconds())

    return DeclarationView(
        level=declaration.level,
        operations=[operation.value for operation in Operation if operation in declaration.operations],
        identifier_kinds=sorted(declaration.identifier_kinds),
        erases_by=declaration.erases_by.value,
        max_subjects_per_call={o.value: declaration.batch_limit(o) for o in Operation if o in declaration.operations},
        can_confirm=declaration.can_confirm,
        suppress_first=declaration.suppress_first,
        confirm_after_seconds=seconds("confirm_after"),
        poll_every_seconds=seconds("poll_every"),
        purge_after_seconds=seconds("purge_after"),
        required_scopes=list(declaration.required_scopes),
        not_covered=list(declaration.not_covered),
    )
