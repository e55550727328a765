"""What the two kinds of database have in common here: a short session, set-based SQL, lists as bound parameters.

Decides the differences of dialect that the rest of this folder sees. Doesn't decide what is asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from connectors.warehouse.spelling import WHITE_SPACE

Row = tuple[Any, ...]

_WHITE_SPACE_SQL = " || ".join(f"chr({ord(sign)})" for sign in WHITE_SPACE)


@dataclass(frozen=True)
class TableFacts:
    """What the catalogue says of one table. `token` is the catalogue's own identity of it."""

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
    """One short access. Statements without bound values are given as finished SQL whose names are quoted."""

    row_id: ClassVar[tuple[str, str]]
    """Two expressions over a table alias `{0}` that are a row's physical identity within one transaction."""
    levels_apart: ClassVar[bool]
    """True if rows and the rows that referenced them can't be deleted in one transaction."""
    temporary: ClassVar[str]
    """How a statement that makes a temporary table begins, up to the name, and ..."""
    temporary_options: ClassVar[str]
    """... what stands between its name and AS."""
    collation: str = ""

    @abstractmethod
    def rows(self, sql: str) -> list[Row]:
        """All rows of a query without bound values."""

    @abstractmethod
    def change(self, sql: str) -> int:
        """Run DELETE or UPDATE; the number of rows that it changed."""

    @abstractmethod
    def run(self, sql: str) -> None:
        """Run a statement whose result doesn't matter."""

    @abstractmethod
    def with_given(self, given: Mapping[str, Sequence[str]], sql: str) -> list[Row]:
        """Run `WITH given(<columns>) AS (<the bound lists side by side>) <sql>` and return its rows, if it has any."""

    @abstractmethod
    def transaction(self, *, keep: bool) -> AbstractContextManager[None]:
        """One transaction with a steady view of the data; committed at its end only if `keep`."""

    @abstractmethod
    def facts(self, names: Sequence[tuple[str, ...]]) -> list[TableFacts | None]:
        """What the catalogue says of each table; None where there is none that this user can know of."""

    @abstractmethod
    def references(self) -> list[Reference]:
        """Every enforced foreign key of the database."""

    @abstractmethod
    def check_rights(self, name: tuple[str, ...], *, delete: bool, update: tuple[str, ...]) -> None:
        """Raise CredentialsRefused unless this user sees *every* row of the table and may change them as said."""

    def make(self, name: str, query: str) -> None:
        """A temporary table of ours from a query."""
        self.run(f"{self.temporary} {name} {self.temporary_options} AS {query}")

    def trim(self, expression: str) -> str:
        """The expression as text without white space around it."""
        return f"trim(BOTH {_WHITE_SPACE_SQL} FROM CAST({expression} AS VARCHAR))"

    def lower(self, text: str) -> str:
        """Text in lower case, beyond ASCII as well."""
        return f"lower({text}{self.collation})"

    def fold(self, expression: str) -> str:
        """What both sides of a comparison without regard to case are turned into."""
        return self.lower(self.trim(expression))

    def id_columns(self, alias: str) -> str:
        """The physical identity of a row of `alias` as the columns a and b."""
        first, second = (part.format(alias) for part in self.row_id)
        return f"{first} AS a, {second} AS b"

    def is_row(self, alias: str, found: str) -> str:
        """The condition that `found`, which has the columns a and b, is the row of `alias`."""
        first, second = (part.format(alias) for part in self.row_id)
        return f"{first} = {found}.a AND {second} = {found}.b"


class Database(Protocol):
    """A warehouse that can be opened for a moment."""

    def open(self, *, write: bool) -> AbstractContextManager[Session]:
        """A session, closed at its end. Raises the four errors only, none of which carries the database's text."""
