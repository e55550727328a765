"""Databases for tests: made once from a migrated template, emptied between tests, made anew when a test altered them.

Copying a template for each test was a third of the suite's time; most tests leave a few rows in a few tables.
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
        self._free: list[tuple[str, str]] = []
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
        if self._shape(url) != shape:
            self.drop(url)
            return
        with self._inside(url) as connection:
            connection.execute(_EMPTY)
        self._free.append((url, shape))

    def create(self, template: str | None = None) -> str:
        """A database of one's own, like the template unless told otherwise; the caller drops it."""
        owner, name = make_url(self._like).username, f"test_{uuid4().hex}"
        assert owner is not None
        statement = "CREATE DATABASE {name} OWNER {owner} TEMPLATE {template}"
        self._administer(statement, name=name, owner=owner, template=template or self._template)
        self._administer("REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name)
        return make_url(self._like).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """By force: a test that leaves a connection open shall not make the next one fail."""
        self._administer("DROP DATABASE {name} WITH (FORCE)", name=_name(url))

    def _fresh(self) -> tuple[str, str]:
        url = self.create()
        return url, self._shape(url)

    def _shape(self, url: str) -> str:
        with self._inside(url) as connection:
            row = connection.execute(_SHAPE).fetchone()
        assert row is not None
        return str(row[0])

    @contextmanager
    def _inside(self, url: str) -> Iterator[psycopg.Connection]:
        own = self._admin_url(database=_name(url))
        with psycopg.connect(own, autocommit=True) as connection:
            yield connection

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
