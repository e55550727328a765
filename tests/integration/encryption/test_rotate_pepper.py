"""A pepper is added: every stored hash is brought to the new version, so nobody is lost, sealed people included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from connectors.base.values import Identifier
from service.access.create_key import create_key
from service.api.routes.readiness import why_not_ready
from service.audit.rebuild import replay_audit
from service.cli.main import app
from service.cli.running.installation import Servers, prepare
from service.domain.access.api_key import Caller, Scope
from service.execution.worker_context import WorkerContext
from service.requests.holds.active import held_requests
from service.requests.lookup_subject import SubjectView, lookup_subject
from service.settings import Settings
from service.store.encryption import pepper_versions
from service.store.encryption.keyed_hash import Pepper
from service.store.encryption.pepper_versions import HASH_ARRAYS, HASHES, OtherPeppers, bring_hashes_up
from service.store.encryption.secrets import load_secrets
from service.store.engine import open_engine
from service.store.stores import Stores
from service.store.tables import metadata
from tests.company import Company
from tests.integration.encryption.conftest import settings_in, submit
from tests.integration.suppression.company_with_org import CompanyWithOrg
from tests.scenes import hold, quicken

FIRST, SECOND, THIRD, OTHER = ("11" * 32, "22" * 32, "33" * 32, "44" * 32)
EMAIL = Identifier("email", "subject@example.test")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The main store without comparing peppers."""
    opened = open_engine(database_url)
    yield opened
    opened.dispose()


def peppers(*secrets: str) -> Pepper:
    first, *added = (bytes.fromhex(secret) for secret in secrets)
    return Pepper(first, tuple(added))


def settings_with(directory: Path, *added: str, first: str = FIRST) -> Settings:
    return settings_in(directory / "data", pepper=first, added_peppers=list(added))


def every_hash(engine: Engine) -> set[bytes]:
    """All keyed hashes that are stored anywhere."""
    single = [f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL" for table, column in HASHES]
    arrays = [f"SELECT unnest({column}) FROM {table}" for table, column in HASH_ARRAYS]
    with engine.begin() as connection:
        return {bytes(row[0]) for each in (*single, *arrays) for row in connection.execute(text(each))}


def add_two_peppers(company: Company) -> None:
    """Two rotations, each as at a start; then the service runs with all peppers."""
    engines = (company.stores.engine, company.stores.key_engine)
    main, keys = (engine.url.render_as_string(hide_password=False) for engine in engines)
    company.runtime.close()
    secrets = load_secrets(company.settings)
    changer = open_engine(main)
    for added in ((SECOND,), (SECOND, THIRD)):
        pepper = Pepper(secrets.pepper.secret, tuple(bytes.fromhex(each) for each in added))
        count = len(every_hash(changer))
        assert bring_hashes_up(changer, pepper) == count > 0
        assert bring_hashes_up(changer, pepper) == 0
    changer.dispose()
    company.stores = Stores.open(main, keys, replace(secrets, pepper=pepper))
    company.runtime = WorkerContext(company.settings, company.stores)


def did_you_delete(company: Company, email: str) -> SubjectView:
    key = create_key(company.stores, name="privacy", scopes=[Scope.REQUESTS_READ], life=timedelta(days=1), actor="cli")
    asker = Caller(key.id, frozenset({Scope.REQUESTS_READ}))
    return lookup_subject(company.stores, company.settings, Identifier("email", email), caller=asker)


@pytest.mark.parametrize("company", [{"org": True}], indirect=True)
def test_nobody_is_lost_after_two_rotations(company: Company) -> None:
    scene = CompanyWithOrg(company)
    quicken(company, data_key_retention_seconds=0)
    sealed, held, waiting = company.world.ordinary[:3]
    first = scene.erase(sealed)
    company.drive()
    assert company.request(first).sealed_at is not None
    assert scene.sync() == 0
    hold(company, held)
    stopped, opened = company.submit(held), company.submit(waiting)
    before = every_hash(company.stores.engine)

    add_two_peppers(company)

    # "Did you delete me?", although the value is gone.
    told = did_you_delete(company, sealed.emails[0])
    assert ([each.id for each in told.requests], told.suppressed) == ([first], True)
    # The hold stops the request that came before and one that comes now; a second request is linked to the first.
    with company.stores.engine.begin() as connection:
        again = submit(company.stores, company.settings, Identifier("customer_id", held.customer_id))
        assert set(held_requests(connection, [stopped, again])) >= {again}
    linked = submit(company.stores, company.settings, Identifier("email", waiting.emails[0]))
    assert company.request(linked).duplicate_of == opened
    # An erased person who comes back is recognised.
    scene.put("Contact", whose="again", Email=sealed.emails[0])
    assert scene.sync() == 1
    assert scene.opened()[0].reappearance_of == first
    # No hash of an earlier version is left.
    pepper, after = company.stores.pepper, every_hash(company.stores.engine)
    assert before & after == set()
    assert {pepper.bring_up(each, since=1) for each in before} <= after
    # What waited goes on as if nothing had happened.
    company.drive()
    assert company.request(opened).state == "fulfilled"
    assert company.residue(held) != []
    reasons = {step.reason for step in company.steps(stopped).values()}
    assert "legal_hold" in reasons
    assert reasons <= {"legal_hold", None}  # None: waits for the plan, which a held person never gets
    assert replay_audit(company.stores.engine).differences == ()


def test_every_column_of_keyed_hashes_is_brought_up() -> None:
    named = {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.columns
        if column.name.endswith(("keyed_hash", "record_hash", "record_hashes", "job_hashes", "fingerprint"))
        and table.name != "systems"  # A configuration's hash, of nothing personal.
    }
    assert named == {*HASHES, *HASH_ARRAYS}


def test_a_process_that_runs_on_with_the_old_peppers_can_do_nothing(
    tmp_path: Path, database_url: str, key_database_url: str, engine: Engine
) -> None:
    settings = settings_with(tmp_path)
    stale = Stores.open(database_url, key_database_url, load_secrets(settings))
    submit(stale, settings, EMAIL)
    before = every_hash(engine)

    bring_hashes_up(engine, peppers(FIRST, SECOND))

    # The connection that it had is gone; each new one is refused.
    with pytest.raises((OtherPeppers, DBAPIError)):
        submit(stale, settings, Identifier("email", "another@example.test"))
    for _ in range(2):
        with pytest.raises(OtherPeppers, match="2 peppers"):
            submit(stale, settings, Identifier("email", "another@example.test"))
    assert every_hash(engine) == {peppers(FIRST, SECOND).bring_up(each, since=1) for each in before}
    assert (trouble := why_not_ready(stale, settings)) is not None
    assert trouble.status == 503
    stale.close()


@pytest.mark.parametrize(
    ("secrets", "reason"),
    [
        ((FIRST,), "2 peppers, and 1 are given"),
        ((OTHER, SECOND), "another pepper"),
        ((FIRST, OTHER), "another pepper"),
        ((SECOND, FIRST), "another pepper"),
    ],
)
def test_other_peppers_than_the_stores_are_refused(
    tmp_path: Path, database_url: str, key_database_url: str, engine: Engine, secrets: tuple[str, ...], reason: str
) -> None:
    bring_hashes_up(engine, peppers(FIRST, SECOND))
    first, *added = secrets
    settings = settings_with(tmp_path, *added, first=first)
    stores = Stores.open(database_url, key_database_url, load_secrets(settings))

    with pytest.raises(OtherPeppers, match=reason):
        submit(stores, settings, EMAIL)
    with pytest.raises(OtherPeppers, match=reason):
        bring_hashes_up(engine, peppers(*secrets))
    stores.close()


def test_a_change_that_dies_half_way_changes_nothing(
    tmp_path: Path, database_url: str, key_database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_with(tmp_path)
    stores = Stores.open(database_url, key_database_url, load_secrets(settings))
    bring_hashes_up(engine, peppers(FIRST))
    submit(stores, settings, EMAIL)
    before = every_hash(engine)

    class Died(Exception):  # noqa: N818 - says what happened
        pass

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(pepper_versions, "log_event", lambda *_, **__: die())
        with pytest.raises(Died):
            bring_hashes_up(engine, peppers(FIRST, SECOND))

    assert every_hash(engine) == before
    submit(stores, settings, Identifier("email", "another@example.test"))
    stores.close()
    assert bring_hashes_up(engine, peppers(FIRST, SECOND)) == len(before) + 1


def test_a_generated_pepper_is_added_at_the_next_start(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {
        "database_url": company.stores.engine.url.render_as_string(hide_password=False),
        "key_database_url": company.stores.key_engine.url.render_as_string(hide_password=False),
        "broker_url": "redis://127.0.0.1:1/0",
    }
    for name, url in urls.items():
        monkeypatch.setenv(f"EXPUNGE_{name.upper()}", url)
    for name in ("EXPUNGE_CONFIG", "EXPUNGE_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
    first = company.submit(company.world.ordinary[0])
    config = str(company.settings.origin)

    for number in (2, 3):
        prepared = CliRunner().invoke(app, ["encryption", "rotate-pepper", "--config", config])
        assert prepared.exit_code == 0, prepared.output
        # Until the start nothing changes for the processes that run.
        assert company.stores.pepper.version == 1
        load_secrets(company.settings)
        stores = prepare(company.settings, Servers(urls, ()))
        assert stores.pepper.version == number
        email = stores.pepper.of_identifier(Identifier("email", company.world.ordinary[0].emails[0]))
        with stores.engine.begin() as connection:
            found = connection.execute(text("SELECT request_id FROM identifiers WHERE keyed_hash = :h"), {"h": email})
            assert found.scalars().all() == [first]
        stores.close()


def test_the_same_body_is_known_after_a_rotation() -> None:
    body = uuid4().bytes
    assert peppers(FIRST).of_body(body) != peppers(FIRST, SECOND).of_body(body)
    assert peppers(FIRST, SECOND).bring_up(peppers(FIRST).of_body(body), since=1) == peppers(FIRST, SECOND).of_body(
        body
    )
