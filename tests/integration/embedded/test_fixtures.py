"""What tests/conftest.py promises to every test: fresh databases, an empty broker, no way out to the network."""

import socket
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import create_engine, inspect, make_url, text

from service.embedded import Running
from tests.databases import Databases

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


def statements(url: str, *sql: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in sql:
            connection.execute(text(statement))
    engine.dispose()


def answer(url: str, sql: str) -> Any:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            return connection.scalar(text(sql))
    finally:
        engine.dispose()


FENCE = "SELECT count(*) FROM pg_trigger WHERE tgenabled = 'O' AND NOT tgisinternal"


def test_rows_and_a_fence_that_was_taken_down_are_as_before_in_the_same_database(main_databases: Databases) -> None:
    with main_databases.lent() as first:
        fence = answer(first, FENCE)
        statements(first, "ALTER TABLE audit_leaves DISABLE TRIGGER USER")
        statements(first, "INSERT INTO audit_pending (entry) VALUES ('x')")
        assert answer(first, FENCE) < fence
        assert answer(first, "SELECT max(id) FROM audit_pending") == 1
    with main_databases.lent() as second:
        assert second == first
        assert answer(second, FENCE) == fence
        assert answer(second, "SELECT count(*) FROM audit_pending") == 0
        statements(second, "INSERT INTO audit_pending (entry) VALUES ('x')")
        assert answer(second, "SELECT max(id) FROM audit_pending") == 1


@pytest.mark.parametrize(
    "alteration",
    [
        "CREATE TABLE left_by_a_test (id int)",
        "ALTER TABLE audit_pending ADD COLUMN left_by_a_test int",
        "DROP TABLE audit_pending",
        "CREATE SCHEMA left_by_a_test",
        "DROP TRIGGER only_grows ON audit_leaves",
    ],
)
def test_a_database_that_a_test_altered_is_lent_to_nobody_else(main_databases: Databases, alteration: str) -> None:
    with main_databases.lent() as first:
        statements(first, alteration)
    with main_databases.lent() as second:
        assert second != first


def test_a_database_can_be_copied_while_it_is_lent(main_databases: Databases) -> None:
    for _ in range(2):  # the second time it was lent before, and there is a connection to it
        with main_databases.lent() as lent:
            statements(lent, "INSERT INTO audit_pending (entry) VALUES ('x')")
            copy = main_databases.create(template=str(make_url(lent).database))
            assert answer(copy, "SELECT count(*) FROM audit_pending") == 1
            main_databases.drop(copy)


@pytest.mark.parametrize("turn", [1, 2])
def test_a_blank_database_is_blank_each_time(blank_database_url: str, turn: int) -> None:
    assert tables_of(blank_database_url) == []
    assert answer(blank_database_url, "SELECT to_regnamespace('left_by_a_test')") is None
    owner = "SELECT nspowner::regrole::text || nspacl::text FROM pg_namespace WHERE nspname = 'public'"
    assert (
        answer(blank_database_url, owner)
        == "pg_database_owner{pg_database_owner=UC/pg_database_owner,=U/pg_database_owner}"
    )
    statements(blank_database_url, "CREATE TABLE left_by_a_test (id int)", "CREATE SCHEMA left_by_a_test")


@pytest.mark.parametrize("turn", [1, 2])
def test_the_broker_is_empty_each_time(redis_url: str, broker_url: str, turn: int) -> None:
    client: Any = redis.Redis.from_url(redis_url)
    assert client.dbsize() == 0
    client.set("left by a test", turn)
    assert redis_url.partition("?")[0].rpartition("@")[2] in broker_url
