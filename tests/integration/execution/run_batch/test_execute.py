"""`execute`: part of the caller's transaction, common errors, and one decision between the driver and SQLAlchemy."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, Integer, String, bindparam, cast, column, func, literal, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError, MultipleResultsFound, NoResultFound, OperationalError

from service.store.engine import open_engine
from service.store.execute import compile_once, execute

_KEEP = "INSERT INTO vendor_admissions (id) VALUES (CAST(:id AS uuid))"
_ONE = "6b1f9a52-51b1-4b6d-8f6e-3a4a1c1d2e3f"


@pytest.fixture
def engine(database_url: str) -> Engine:
    return open_engine(database_url)


def count(engine: Engine) -> int:
    with engine.begin() as connection:
        return int(execute(connection, "SELECT count(*) FROM vendor_admissions").scalar_one())


def test_what_is_said_is_committed_and_rolled_back_with_the_transaction(engine: Engine) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        assert execute(connection, _KEEP, {"id": _ONE}).rowcount == 1
        transaction.rollback()
    assert count(engine) == 0
    with engine.begin() as connection:
        execute(connection, _KEEP, {"id": _ONE})
    assert count(engine) == 1


def test_a_transaction_that_nobody_began_is_the_callers_to_commit(engine: Engine) -> None:
    with engine.connect() as connection:
        execute(connection, _KEEP, {"id": _ONE})
    assert count(engine) == 0
    with engine.connect() as connection:
        execute(connection, _KEEP, {"id": _ONE})
        connection.commit()
    assert count(engine) == 1


def test_a_refused_statement_raises_the_common_errors_without_its_values(engine: Engine) -> None:
    with engine.begin() as connection:
        execute(connection, _KEEP, {"id": _ONE})
    told = {"id": _ONE, "told": "ada@example.test"}
    with pytest.raises(IntegrityError) as error, engine.begin() as connection:
        execute(connection, f"{_KEEP} RETURNING CAST(:told AS text)", told)
    assert "ada" not in f"{error.value}{error.value!r}"
    assert error.value.__cause__ is None


def test_a_lost_connection_is_not_used_again(engine: Engine) -> None:
    with pytest.raises(OperationalError) as error, engine.begin() as connection:
        execute(connection, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert error.value.connection_invalidated
    with engine.begin() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_rows_are_read_as_asked(engine: Engine) -> None:
    three = "SELECT n, n * 2 AS twice FROM generate_series(1, :n) AS n ORDER BY n"
    with engine.begin() as connection:
        assert [(row.n, row.twice) for row in execute(connection, three, {"n": 2}).all()] == [(1, 2), (2, 4)]
        assert execute(connection, three, {"n": 2}).scalars() == [1, 2]
        assert execute(connection, three, {"n": 1}).one().twice == 2
        assert execute(connection, three, {"n": 0}).one_or_none() is None
        with pytest.raises(MultipleResultsFound):
            execute(connection, three, {"n": 2}).scalar_one()
        with pytest.raises(NoResultFound):
            execute(connection, three, {"n": 0}).scalar_one()


@pytest.mark.parametrize(("plans_once", "mode"), [(True, "force_generic_plan"), (False, "auto")])
def test_only_who_says_the_same_for_ever_plans_once(database_url: str, plans_once: bool, mode: str) -> None:
    engine = open_engine(database_url, plans_once=plans_once)
    with engine.begin() as connection:
        assert connection.execute(text("SHOW plan_cache_mode")).scalar_one() == mode
    engine.dispose()


def test_values_that_sqlalchemy_expands_or_converts_are_executed_by_it(engine: Engine) -> None:
    expanded = select(column("n")).select_from(func.generate_series(1, 4).alias("n"))
    expanded = expanded.where(column("n").in_(bindparam("wanted", expanding=True)))
    converted = select(cast(bindparam("value", type_=JSONB), JSONB)["kind"].astext)
    assert not compile_once(expanded).is_direct
    assert not compile_once(converted).is_direct
    with engine.begin() as connection:
        assert execute(connection, expanded, {"wanted": [2, 3]}).scalars() == [2, 3]
        assert execute(connection, converted, {"value": {"kind": "email"}}).scalar_one() == "email"


def test_other_values_go_to_the_driver_with_the_literals_beside_them(engine: Engine) -> None:
    statement = select(
        (bindparam("n", type_=Integer) + 1).label("more"),
        literal(None, String).label("none"),
        literal("x").label("text"),
    )
    assert compile_once(statement).is_direct
    assert compile_once(statement) is compile_once(statement)
    with engine.begin() as connection:
        row = execute(connection, statement, {"n": 1}).one()
    assert (row.more, row.none, row.text) == (2, None, "x")
