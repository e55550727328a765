"""The identity graph in a warehouse's edge list, answered one round at a time.

Decides how the `[identity_graph]` table is read. Whom the walk goes through is decided by the service.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import Field

from connectors.base.config import ConfigurationError, SystemModel, check_keys, parse_model
from connectors.base.identity_source import Neighbours
from connectors.base.values import Identifier
from connectors.warehouse.graph_rows import neighbours
from connectors.warehouse.location import WarehouseCredentials, database_at, parse_location
from connectors.warehouse.policy import EdgeColumns, GraphPolicy, TableName
from connectors.warehouse.session import Database

_WHERE = "identity_graph"


class _Limits(SystemModel):
    lock_wait_seconds: float = Field(default=10.0, ge=0, le=120)
    statement_timeout_seconds: float = Field(default=60.0, gt=0, le=3600)


class _Table(SystemModel):
    table: TableName


_KEYS = ("base_url", "credentials", "columns", *_Table.model_fields, *_Limits.model_fields)


class WarehouseIdentitySource:
    """`IdentitySource` over an edge list; each round opens the warehouse, asks once, and closes it."""

    def __init__(self, database: Database, graph: GraphPolicy) -> None:
        self._database = database
        self._graph = graph

    def neighbours(
        self, identifiers: Collection[Identifier], *, max_neighbours: int
    ) -> Mapping[Identifier, Neighbours]:
        """Direct neighbours of each identifier that the graph knows; see `IdentitySource`."""
        with self._database.open(write=False) as session:
            return neighbours(session, self._graph, identifiers, max_neighbours)

    def close(self) -> None:
        """Nothing is held open between rounds."""


def open_identity_source(table: Mapping[str, Any]) -> WarehouseIdentitySource:
    """Read `[identity_graph]`: base_url, credentials, table, columns, and two optional time limits.

    Raises ConfigurationError naming the key. Nothing is opened before the first round.
    """
    check_keys(table, _KEYS, _WHERE)
    if not isinstance(table.get("base_url"), str):
        raise ConfigurationError(f"{_WHERE}.base_url: a text is required")
    credentials = parse_model(WarehouseCredentials, table.get("credentials", {}), f"{_WHERE}.credentials")
    columns = parse_model(EdgeColumns, table.get("columns", {}), f"{_WHERE}.columns")
    graph = GraphPolicy(table=parse_model(_Table, _only(table, _Table), _WHERE).table, columns=columns)
    limits = parse_model(_Limits, _only(table, _Limits), _WHERE)
    location = parse_location(table["base_url"], credentials, _WHERE)
    return WarehouseIdentitySource(database_at(location, **limits.model_dump()), graph)


def _only(table: Mapping[str, Any], model: type[SystemModel]) -> dict[str, Any]:
    return {key: table[key] for key in model.model_fields if key in table}
