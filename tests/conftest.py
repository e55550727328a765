"""What every test may ask for: servers of our own, databases that are thrown away, and no way out to the network.

Nothing is started or migrated before a test asks for it; each xdist worker has its own pair of servers.
"""

import ipaddress
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from service.embedded import EmbeddedServers, Running
from tests.databases import Databases

pytest_plugins = ["tests.suite", "tests.company"]


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


@pytest.fixture(scope="session")
def main_databases(servers: Running) -> Iterator[Databases]:
    """The main databases that are lent to the tests; for a test that copies its own."""
    from service.store.migrate import migrate

    with closing(Databases(servers, servers.database_url, migrate)) as databases:
        yield databases


@pytest.fixture(scope="session")
def _key_databases(servers: Running) -> Iterator[Databases]:
    from service.store.migrate import migrate_keys

    with closing(Databases(servers, servers.key_database_url, migrate_keys)) as databases:
        yield databases


@pytest.fixture(scope="session")
def _blank_databases(servers: Running) -> Iterator[Databases]:
    with closing(Databases(servers, servers.database_url)) as databases:
        yield databases


@pytest.fixture
def database_url(main_databases: Databases) -> Iterator[str]:
    """SQLAlchemy URL of an empty main database, migrated; signed in as its owner."""
    with main_databases.lent() as url:
        yield url


@pytest.fixture
def key_database_url(_key_databases: Databases) -> Iterator[str]:
    """SQLAlchemy URL of an empty key database, migrated; signed in as its owner, who is not the main database's."""
    with _key_databases.lent() as url:
        yield url


@pytest.fixture
def blank_database_url(_blank_databases: Databases) -> Iterator[str]:
    """SQLAlchemy URL of a database without any table."""
    with _blank_databases.lent() as url:
        yield url


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
