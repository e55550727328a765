"""What tests/conftest.py promises to every test: fresh databases, an empty broker, no way out to the network."""

import socket
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import create_engine, inspect, make_url, text

from service.embedded import Running

OUTSIDE = "192.0.2.1"  # TEST-NET-1, RFC 5737: routed nowhere even if the guard fails


def connect_to_an_address() -> None:
    with socket.socket() as connection:
        connection.settimeout(0.2)
        connection.connect((OUTSIDE, 443))


def try_to_connect_to_an_address() -> None:
    with socket.socket() as connection:
        connection.settimeout(0.2)
        assert connection.connect_ex((OUTSIDE, 443))


def send_a_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"", 0, (OUTSIDE, 53))


def connect_over_ipv6() -> None:
    with socket.socket(socket.AF_INET6) as connection:
        connection.settimeout(0.2)
        connection.connect(("2001:db8::1", 443))


def look_up_a_name() -> None:
    socket.getaddrinfo("vendor.example.test", 443)


def look_up_a_name_for_http() -> None:
    socket.create_connection(("vendor.example.test", 443), timeout=0.2)


@pytest.mark.parametrize(
    "reach_out",
    [
        connect_to_an_address,
        try_to_connect_to_an_address,
        send_a_datagram,
        connect_over_ipv6,
        look_up_a_name,
        look_up_a_name_for_http,
    ],
)
def test_no_test_reaches_the_network(reach_out: Callable[[], None], refused_connections: list[str]) -> None:
    with pytest.raises(Exception, match="tests may not reach"):
        reach_out()
    assert len(refused_connections) == 1
    refused_connections.clear()


def test_this_machine_is_not_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1]), timeout=5).close()


def tables_of(url: str) -> list[str]:
    engine = create_engine(url)
    try:
        return inspect(engine).get_table_names()
    finally:
        engine.dispose()


def roles_that_may_connect(servers: Running, url: str) -> list[str]:
    admin = make_url(servers.database_admin_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin) as connection:
        rows = connection.execute(
            "SELECT rolname FROM pg_roles"
            " WHERE rolname LIKE 'expunge%%' AND has_database_privilege(rolname, %s, 'CONNECT')",
            (make_url(url).database,),
        )
        return sorted(name for (name,) in rows)


@pytest.mark.parametrize("fixture", ["database_url", "key_database_url"])
def test_a_migrated_database_is_fresh_and_its_owners_alone(
    servers: Running, fixture: str, request: pytest.FixtureRequest
) -> None:
    url: str = request.getfixturevalue(fixture)
    owner = make_url(url).username
    assert tables_of(url)
    assert "left_by_a_test" not in tables_of(url)
    with create_engine(url).begin() as connection:
        assert connection.scalar(text("SELECT current_user")) == owner
        connection.execute(text("CREATE TABLE left_by_a_test (id int)"))
    assert roles_that_may_connect(servers, url) == sorted(["expunge_admin", str(owner)])


@pytest.mark.parametrize("turn", [1, 2])
def test_a_blank_database_is_blank_each_time(blank_database_url: str, turn: int) -> None:
    assert tables_of(blank_database_url) == []
    with create_engine(blank_database_url).begin() as connection:
        connection.execute(text("CREATE TABLE left_by_a_test (id int)"))


@pytest.mark.parametrize("turn", [1, 2])
def test_the_broker_is_empty_each_time(redis_url: str, broker_url: str, turn: int) -> None:
    client: Any = redis.Redis.from_url(redis_url)
    assert client.dbsize() == 0
    client.set("left by a test", turn)
    assert redis_url.partition("?")[0].rpartition("@")[2] in broker_url
