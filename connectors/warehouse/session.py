"""One short access to a warehouse: compiled statements, set-based, with lists as bound values.

Decides the interface that the rest of this folder sees. Doesn't decide what is asked; `dialects` has the differences of
SQL.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from connectors.warehouse.dialects import Compiled, WarehouseDialect

Row = tuple[Any, ...]
Given = Mapping[str, Sequence[str]]
"""Lists of equal length, bound by name: the columns of `WarehouseDialect.given`."""


@dataclass(frozen=True)
class TableFacts:
    """The catalogue's facts of one table. `token` is the catalogue's own identity of it."""

    token: object
    is_table: bool
    columns: Mapping[str, bool]
    """Column name -> whether it may be NULL."""
    primary_key: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """An enforced foreign key, by the tables' tokens."""

    child: object
    child_name: str
    child_columns: tuple[str, ...]
    parent: object
    parent_columns: tuple[str, ...]


class Session(ABC):
    """One short access. Statements are compiled by `dialect`."""

    dialect: WarehouseDialect
    levels_apart: ClassVar[bool]
    """True if rows and the rows that referenced them can't be deleted in one transaction."""

    @abstractmethod
    def rows(self, statement: Compiled, given: Given | None = None) -> list[Row]:
        """Return all rows of a query."""

    @abstractmethod
    def change(self, statement: Compiled) -> int:
        """Run DELETE or UPDATE; return the number of rows that it changed."""

    @abstractmethod
    def run(self, statement: Compiled, given: Given | None = None) -> None:
        """Run a statement whose result doesn't matter."""

    @abstractmethod
    def transaction(self, *, keep: bool) -> AbstractContextManager[None]:
        """Return one transaction with a steady view of the data, which is committed at its end only if `keep`."""

    @abstractmethod
    def facts(self, names: Sequence[tuple[str, ...]]) -> list[TableFacts | None]:
        """Return the catalogue's facts of each table; None where there is none that this user can know of."""

    @abstractmethod
    def references(self) -> list[Reference]:
        """Return every enforced foreign key of the database."""

    @abstractmethod
    def check_rights(self, name: tuple[str, ...], *, delete: bool, update: tuple[str, ...]) -> None:
        """Raise CredentialsRefused unless this user sees *every* row of the table and may change rows so."""


class Database(Protocol):
    """A warehouse that can be opened for a moment."""

    def open(self, *, write: bool) -> AbstractContextManager[Session]:
        """Return a session, closed at its end. Raises the four errors only; none carries the database's text."""
