"""Databases for tests: made once from a template, emptied between tests, made anew when a test altered them.

Copying a template for each test was a third of the suite's time; most tests leave a few rows in a few tables. One
connection of the administrator stays open to each database: a new one for each test would have to read the catalogues
anew, which takes the server five times as long as the emptying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from service.embedded import Running

# By force: a test that leaves a transaction open shall not make the next one wait. Foreign keys aren't asked while all
# rows go; identity columns begin anew; deadlocks are counted per database, and a test may count its own.
_EMPTY = """
DO $$
DECLARE found record; filled boolean;
BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
  SET LOCAL session_replication_role = replica;
  FOR found IN SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
      WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic_version%' LOOP
    EXECUTE 'SELECT EXISTS (SELECT 1 FROM ' || found.name || ')' INTO filled;
    IF filled THEN EXECUTE 'DELETE FROM ' || found.name; END IF;
  END LOOP;
  FOR found IN SELECT format('%I.%I', schemaname, sequencename) AS name FROM pg_sequences
      WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
    EXECUTE 'ALTER SEQUENCE ' || found.name || ' RESTART';
  END LOOP;
  -- Who tampers with the audit log in a test took its fence down first.
  FOR found IN SELECT DISTINCT tgrelid::regclass::text AS name FROM pg_trigger
      WHERE tgenabled = 'D' AND NOT tgisinternal LOOP
    EXECUTE 'ALTER TABLE ' || found.name || ' ENABLE TRIGGER USER';
  END LOOP;
  PERFORM pg_stat_reset();
END $$
"""
# For databases that begin without a table: everything goes, and `public` is as in a new database.
_CLEAR = """
DO $$
DECLARE found record;
BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
  FOR found IN SELECT nspname AS name FROM pg_namespace
      WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', found.name);
  END LOOP;
  CREATE SCHEMA public AUTHORIZATION pg_database_owner;
  GRANT USAGE ON SCHEMA public TO PUBLIC;
  COMMENT ON SCHEMA public IS 'standard public schema';
  PERFORM pg_stat_reset();
END $$
"""
# Everything that a test could have altered and that emptying doesn't bring back.
_SHAPE = """
SELECT md5(coalesce(string_agg(line, ',' ORDER BY line), '')) FROM (
  SELECT format('class %s %s %s %s', c.oid, relname, relkind, relacl) AS line FROM pg_class c
    WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('column %s %s %s %s %s', attrelid, attname, atttypid, attnotnull, atthasdef)
    FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('trigger %s %s', t.oid, tgenabled) FROM pg_trigger t
  UNION ALL SELECT format('constraint %s %s', oid, convalidated) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT format('function %s', oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT format('schema %s', nspname) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
  UNION ALL SELECT format('setting %s', setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
    WHERE datname = current_database()
) AS shape
"""


class Databases:
    """Databases like one that the servers made, owned by its role, which alone may connect."""

    def __init__(self, servers: Running, like: str, migrate: Callable[[str], None] | None = None) -> None:
        self._servers = servers
        self._like = like
        self._template = "template1"
        self._reset = _CLEAR if migrate is None else _EMPTY
        self._free: list[tuple[str, str]] = []
        self._connections: dict[str, psycopg.Connection] = {}
        if migrate is not None:
            url = self.create()
            migrate(url)
            self._template = _name(url)
            self._administer("ALTER DATABASE {name} ALLOW_CONNECTIONS false", name=self._template)

    @contextmanager
    def lent(self) -> Iterator[str]:
        """SQLAlchemy URL of a database as the template is, for one test."""
        url, shape = self._free.pop() if self._free else self._fresh()
        yield url
        if self._is_reset(url, shape):
            self._free.append((url, shape))
        else:
            self.drop(url)

    def create(self, template: str | None = None) -> str:
        """A database of one's own, like the template unless another one's name is given; the caller drops it."""
        owner, name = make_url(self._like).username, f"test_{uuid4().hex}"
        assert owner is not None
        if template is not None:
            self._leave(template)  # what somebody is connected to can't be copied
        statement = "CREATE DATABASE {name} OWNER {owner} TEMPLATE {template}"
        self._administer(statement, name=name, owner=owner, template=template or self._template)
        self._administer("REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name)
        return make_url(self._like).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """By force: a test that leaves a connection open shall not make the next one fail."""
        self._leave(_name(url))
        self._administer("DROP DATABASE {name} WITH (FORCE)", name=_name(url))

    def close(self) -> None:
        """Leave all databases; they go with their server."""
        for name in list(self._connections):
            self._leave(name)

    def _fresh(self) -> tuple[str, str]:
        url = self.create()
        return url, self._shape(url)

    def _is_reset(self, url: str, shape: str) -> bool:
        """Make it as it was, if that can be done; what a test altered for good can even keep it from being emptied."""
        try:
            self._inside(url).execute(self._reset)
            return self._shape(url) == shape
        except psycopg.Error:
            return False

    def _leave(self, name: str) -> None:
        if (connection := self._connections.pop(name, None)) is not None:
            connection.close()

    def _shape(self, url: str) -> str:
        row = self._inside(url).execute(_SHAPE).fetchone()
        assert row is not None
        return str(row[0])

    def _inside(self, url: str) -> psycopg.Connection:
        name = _name(url)
        if (connection := self._connections.get(name)) is None or connection.closed:
            connection = psycopg.connect(self._admin_url(database=name), autocommit=True)
            self._connections[name] = connection
        return connection

    def _administer(self, statement: str, **names: str) -> None:
        with psycopg.connect(self._admin_url(), autocommit=True) as connection:
            identifiers = {name: sql.Identifier(value) for name, value in names.items()}
            connection.execute(sql.SQL(statement).format(**identifiers))

    def _admin_url(self, **changes: str) -> str:
        url = make_url(self._servers.database_admin_url).set(drivername="postgresql", **changes)  # type: ignore[arg-type]
        return url.render_as_string(hide_password=False)


def _name(url: str) -> str:
    name = make_url(url).database
    assert name is not None
    return name
