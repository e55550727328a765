"""Read a warehouse's location (`duckdb://` or `postgresql://`), and choose the database for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from connectors.base.config import ConfigurationError, SystemModel, check_keys
from connectors.warehouse.duckdb_database import DuckdbDatabase
from connectors.warehouse.postgresql_database import PostgresqlDatabase
from connectors.warehouse.session import Database

# Others of libpq's parameters change what a session may do (`options`, `service`, `passfile`): they are ours to set.
_PARAMETERS = ("host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs")


class WarehouseCredentials(SystemModel):
    """The user and the password. A DuckDB file has no users: leave both out."""

    user: str | None = None
    password: SecretStr | None = None


@dataclass(frozen=True)
class DuckdbFile:
    """An existing DuckDB file."""

    path: Path


@dataclass(frozen=True)
class PostgresServer:
    """Connection parameters of a PostgreSQL database, the password among them: never printed."""

    parameters: Mapping[str, str] = field(repr=False)


Location = DuckdbFile | PostgresServer


def database_at(location: Location, *, lock_wait_seconds: float, statement_timeout_seconds: float) -> Database:
    """Return the database at a location; nothing is opened yet."""
    if isinstance(location, DuckdbFile):
        return DuckdbDatabase(location.path, lock_wait_seconds=lock_wait_seconds)
    return PostgresqlDatabase(
        location.parameters,
        lock_wait_seconds=lock_wait_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
    )


def parse_location(base_url: str, credentials: WarehouseCredentials, where: str) -> Location:
    """Read `base_url`. Raises ConfigurationError, which never echoes the URL: people put passwords there."""
    try:
        parts = urlsplit(base_url)
    except ValueError:
        raise ConfigurationError(f"{where}.base_url: the host can't be read") from None
    if "\0" in unquote(base_url):
        raise ConfigurationError(f"{where}.base_url: a zero character stands in it")
    if parts.scheme == "duckdb":
        return _duckdb(parts.netloc, parts.path, bool(parts.query), credentials, where)
    if parts.scheme == "postgresql":
        if parts.password is not None or parts.username is not None:
            raise ConfigurationError(f"{where}.base_url: user and password belong in {where}.credentials")
        return _postgresql(base_url, credentials, where)
    raise ConfigurationError(f"{where}.base_url: a warehouse is duckdb:///path or postgresql://host:port/database")


def _duckdb(host: str, path: str, has_query: bool, credentials: WarehouseCredentials, where: str) -> DuckdbFile:
    if host or has_query or not path.strip("/"):
        raise ConfigurationError(f"{where}.base_url: a DuckDB file is named by its absolute path, duckdb:///path")
    if credentials.user is not None or credentials.password is not None:
        raise ConfigurationError(f"{where}.credentials: a DuckDB file has no users")
    return DuckdbFile(Path(unquote(path)))


def _postgresql(base_url: str, credentials: WarehouseCredentials, where: str) -> PostgresServer:
    parts = urlsplit(base_url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    check_keys(query, _PARAMETERS, f"{where}.base_url")
    parameters = {**query, "dbname": unquote(parts.path.lstrip("/"))}
    if parts.hostname:
        parameters["host"] = unquote(parts.hostname)
    try:
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"{where}.base_url: the port is not a number") from None
    if port is not None:
        parameters["port"] = str(port)
    if credentials.user is not None:
        parameters["user"] = credentials.user
    if credentials.password is not None:
        parameters["password"] = credentials.password.get_secret_value()
    if not parameters["dbname"] or "host" not in parameters or "user" not in parameters:
        raise ConfigurationError(f"{where}: a PostgreSQL warehouse needs a host, a database and a user")
    return PostgresServer(parameters)
