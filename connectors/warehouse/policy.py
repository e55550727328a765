"""An operator's policy for a warehouse: tables of people, their columns, and the action on the rows.

Decides what can be said wrong without looking at the warehouse; `layout` compares it with the warehouse.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from connectors.base.config import SystemModel
from connectors.base.values import is_identifier_kind
from connectors.warehouse.names import check_part, name_parts

# At most six digits, as every code of the audit log.
_REASON = re.compile(r"(?=.{1,80}$)(?:[a-z_.:-]*[0-9]){0,6}[a-z_.:-]*")


def _as_tuple(value: Any) -> Any:
    if isinstance(value, list):
        # Types are strict, and behind a validator a list is no tuple any more.
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def _table_name(value: str) -> str:
    name_parts(value)
    return value


def _column_name(value: str) -> str:
    return check_part(value)


TableName = Annotated[str, AfterValidator(_table_name)]
ColumnName = Annotated[str, Field(min_length=1), AfterValidator(_column_name)]
Columns = Annotated[tuple[ColumnName, ...], BeforeValidator(_as_tuple)]


class Action(StrEnum):
    """The action on a person's rows of one table."""

    DELETE = "delete"
    NULL = "null"
    RETAIN = "retain"


class ParentPolicy(SystemModel):
    """A link that isn't declared as a foreign key.

    This table's `column` holds the `references` of `table`.
    """

    column: Columns
    table: TableName
    references: Columns

    @model_validator(mode="after")
    def _pairs(self) -> ParentPolicy:
        if not self.column or len(self.column) != len(self.references):
            raise ValueError("`column` and `references` name equally many columns, at least one")
        return self


class TablePolicy(SystemModel):
    """One table.

    `identifiers`: kind -> the column or columns that hold it. `columns`: those that `null` empties.
    """

    name: TableName
    identifiers: dict[str, Columns] = Field(default_factory=dict)
    key: Columns = ()
    action: Action = Action.DELETE
    columns: Columns = ()
    reason: str | None = None
    parents: tuple[ParentPolicy, ...] = ()

    @field_validator("identifiers")
    @classmethod
    def _kinds(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for kind, columns in value.items():
            if not is_identifier_kind(kind):
                raise ValueError("an identifier kind is lower-case letters, at most six digits, and _")
            if not columns:
                raise ValueError("an identifier kind needs a column")
        return value

    @model_validator(mode="after")
    def _action_is_whole(self) -> TablePolicy:
        if (self.action is Action.RETAIN) != (self.reason is not None):
            raise ValueError("`reason` goes with action = 'retain', and only with it")
        if self.reason is not None and not _REASON.fullmatch(self.reason):
            raise ValueError("a reason is a code of lower-case letters, at most six digits, and _.:-")
        if (self.action is Action.NULL) != bool(self.columns):
            raise ValueError("`columns` goes with action = 'null', and only with it")
        kept = {column for _, column in self.identifier_columns} - set(self.columns)
        if self.action is Action.NULL and kept:
            # A row that still carries the identifier would be found again for ever.
            raise ValueError("action = 'null' empties every column under `identifiers` as well")
        return self

    @property
    def identifier_columns(self) -> tuple[tuple[str, str], ...]:
        """(kind, column) of every identifier column."""
        return tuple((kind, column) for kind, columns in self.identifiers.items() for column in columns)


class EdgeColumns(SystemModel):
    """The columns of the identity graph's edge list. An edge has no direction.

    A reviewer reads the optional ones: which source claims the edge, how sure it is, when it saw the edge.
    """

    left_kind: ColumnName
    left_value: ColumnName
    right_kind: ColumnName
    right_value: ColumnName
    source: ColumnName | None = None
    confidence: ColumnName | None = None
    first_seen: ColumnName | None = None
    last_seen: ColumnName | None = None


class GraphPolicy(SystemModel):
    """The identity graph's own rows."""

    table: TableName
    columns: EdgeColumns


class WarehousePolicy(SystemModel):
    """`[systems.policy]`.

    `may_be_empty`: a warehouse without a single row in these tables is no reason for doubt.
    """

    tables: tuple[TablePolicy, ...] = ()
    identity_graph: GraphPolicy | None = None
    may_be_empty: bool = False
    lock_wait_seconds: float = Field(default=10.0, ge=0, le=120)
    statement_timeout_seconds: float = Field(default=60.0, gt=0, le=3600)

    @model_validator(mode="after")
    def _tables_are_known(self) -> WarehousePolicy:
        if not self.tables and self.identity_graph is None:
            raise ValueError("name at least one table or the identity graph")
        if self.tables and not any(table.identifiers for table in self.tables):
            raise ValueError("no table says which column identifies a person")
        names = [name_parts(table.name) for table in self.tables]
        if self.identity_graph is not None:
            names.append(name_parts(self.identity_graph.table))
        if len(set(names)) != len(names):
            raise ValueError("a table is named twice")
        for table in self.tables:
            if any(name_parts(parent.table) not in names for parent in table.parents):
                raise ValueError("a parent table is not among `tables`")
        return self
