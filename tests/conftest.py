"""What every test may ask for: servers of our own, databases that are thrown away, and no way out to the network.

Nothing is started or migrated before a test asks for it; each xdist worker has its own pair of servers.
"""

import ipaddress
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import make_url

from service.embedded import EmbeddedServers, Running

pytest_plugins = ["tests.company"]


class OutsideNetworkUsed(Exception):  # noqa: N818 - named after what happened
    """A test tried to reach something that is not on this machine."""


def _is_on_this_machine(host: Any) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _network_off() -> Iterator[list[str]]:
    """Refuse and record every connection, datagram and name look-up that leads outside, in this process."""
    refused: list[str] = []

    def guard(call: Callable[..., Any], address_of: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **named: Any) -> Any:
            host = address_of(*args)
            if not _is_on_this_machine(host):
                refused.append(str(host))
                raise OutsideNetworkUsed(f"tests may not reach {host}")
            return call(*args, **named)

        return guarded

    def destination(connection: socket.socket, *args: Any) -> Any:
        # A unix socket's address is a path; sendto has its flags before the address.
        return args[-1][0] if connection.family in (socket.AF_INET, socket.AF_INET6) else None

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, guard(getattr(socket.socket, name), destination))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            patch.setattr(socket, name, guard(getattr(socket, name), lambda host, *args: host))
        yield refused


@pytest.fixture(autouse=True)
def refused_connections(_network_off: list[str]) -> Iterator[list[str]]:
    """What the guard refused in this test. It fails the test even where the code under test caught the refusal."""
    _network_off.clear()
    yield _network_off
    assert _network_off == [], "the test tried to reach the network"


@pytest.fixture(scope="session")
def servers() -> Iterator[Running]:
    """PostgreSQL and Valkey of this test process; not durable, thrown away at the end."""
    # Not pytest's tmp_path: it is 0700, and as root the servers' account must get there. Short, for the sockets.
    directory = Path(tempfile.mkdtemp(prefix="expunge-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        with EmbeddedServers(directory / "data", durable=False, outside=directory / "outside") as running:
            yield running
    finally:
        shutil.rmtree(directory)


def _administer(servers: Running, statement: str, **names: str) -> None:
    url = make_url(servers.database_admin_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        identifiers = {name: sql.Identifier(value) for name, value in names.items()}
        connection.execute(sql.SQL(statement).format(**identifiers))


def _create_database(servers: Running, like: str, template: str = "template1") -> str:
    """Create a database owned by the role of URL `like`, which alone may connect; returns its URL."""
    owner, name = make_url(like).username, f"test_{uuid4().hex}"
    assert owner is not None
    names = {"name": name, "owner": owner, "template": template}
    _administer(servers, "CREATE DATABASE {name} OWNER {owner} TEMPLATE {template}", **names)
    _administer(servers, "REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name)
    return make_url(like).set(database=name).render_as_string(hide_password=False)


def _drop_database(servers: Running, url: str) -> None:
    name = make_url(url).database
    assert name is not None
    # By force: a test that leaves a connection open shall not make the next one fail.
    _administer(servers, "DROP DATABASE {name} WITH (FORCE)", name=name)


def _template(servers: Running, like: str, migrate: Callable[[str], None]) -> str:
    url = _create_database(servers, like)
    migrate(url)
    name = make_url(url).database
    assert name is not None
    _administer(servers, "ALTER DATABASE {name} ALLOW_CONNECTIONS false", name=name)
    return name


@pytest.fixture(scope="session")
def _migrated_template(servers: Running) -> str:
    from service.storage.migrate import migrate

    return _template(servers, servers.database_url, migrate)


@pytest.fixture(scope="session")
def _migrated_key_template(servers: Running) -> str:
    from service.storage.migrate import migrate_keys

    return _template(servers, servers.key_database_url, migrate_keys)


@pytest.fixture
def database_url(servers: Running, _migrated_template: str) -> Iterator[str]:
    """SQLAlchemy URL of a fresh main database, migrated; signed in as its owner."""
    url = _create_database(servers, servers.database_url, _migrated_template)
    yield url
    _drop_database(servers, url)


@pytest.fixture
def key_database_url(servers: Running, _migrated_key_template: str) -> Iterator[str]:
    """SQLAlchemy URL of a fresh key database, migrated; signed in as its owner, who is not the main database's."""
    url = _create_database(servers, servers.key_database_url, _migrated_key_template)
    yield url
    _drop_database(servers, url)


@pytest.fixture
def blank_database_url(servers: Running) -> Iterator[str]:
    """SQLAlchemy URL of a fresh database without any table."""
    url = _create_database(servers, servers.database_url)
    yield url
    _drop_database(servers, url)


@pytest.fixture
def redis_url(servers: Running) -> str:
    """redis-py URL of the test's own Valkey, emptied before the test."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


@pytest.fixture
def broker_url(servers: Running, redis_url: str) -> str:
    """Celery URL of the same Valkey, emptied before the test."""
    return servers.broker_url
