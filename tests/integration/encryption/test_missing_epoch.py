"""An epoch key that is missing is never taken for a seal: everything stops and says so until a human decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import Result
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from connectors.base.config import ConfigurationError
from service.api.app import create_app
from service.api.routes.metrics import Metrics
from service.cli.main import app
from service.cli.running.installation import Servers, prepare
from service.domain.errors import WrongState
from service.encryption.rotate_epochs import find_epoch, give_up_epoch, rotate_epochs
from service.execution.worker_context import WorkerContext
from service.requests.reveal import reveal_identifiers
from service.settings import Settings
from service.store.encryption.epoch_secrets import EpochKeyMissing, EpochKeyUnusable
from service.store.encryption.key_store import KeyGone, KeyLost, request_owner
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores
from tests.company import Company
from tests.drive import turn

Run = Callable[..., Result]


@pytest.fixture
def run(company: Company, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, engine in (("DATABASE", company.stores.engine), ("KEY_DATABASE", company.stores.key_engine)):
        monkeypatch.setenv(f"EXPUNGE_{name}_URL", engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("COLUMNS", "240")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["encryption", *arguments, "--config", str(company.settings.origin)])

    return call


def epoch_file(company: Company) -> Path:
    (path,) = (company.settings.service.data_directory / "keys/epochs").iterdir()
    return path


def another_process(company: Company) -> Stores:
    """The same stores with nothing in memory."""

    urls = (
        engine.url.render_as_string(hide_password=False)
        for engine in (company.stores.engine, company.stores.key_engine)
    )
    return Stores.open(*urls, load_secrets(company.settings))


def gauges(stores: Stores, settings: Settings) -> dict[str, float]:
    lines = Metrics(stores, settings).exposition().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_nothing_works_and_nothing_is_lost_while_an_epoch_key_is_missing(company: Company, run: Run) -> None:
    request = company.submit(company.world.ordinary[0])
    path = epoch_file(company)
    away = path.rename(company.settings.service.data_directory / "away")
    stores = another_process(company)
    client = TestClient(create_app(stores, company.settings))

    with pytest.raises(EpochKeyMissing, match=path.stem):
        stores.keys.get([request_owner(request)])
    with pytest.raises(EpochKeyMissing):
        stores.keys.create_new([request_owner(uuid4())])
    with pytest.raises(EpochKeyMissing):
        reveal_identifiers(stores, request, actor="cli")
    with pytest.raises(EpochKeyMissing):
        rotate_epochs(stores, company.settings, now=True)
    # Processes that still have the key in memory notice as well.
    assert company.runtime.admission() is None
    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").json()["code"] == "unavailable"
    assert gauges(stores, company.settings)["expunge_encryption_epoch_keys_missing"] == 1
    found = run("status")
    assert found.exit_code == 1, found.output
    assert path.stem in found.stdout
    assert "missing" in found.stdout

    away.rename(path)
    assert client.get("/readyz").status_code == 200
    assert run("status").exit_code == 0
    company.drive()
    assert company.request(request).state == "fulfilled"
    stores.close()


def test_the_service_does_not_start_without_an_epoch_key(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company.submit(company.world.ordinary[0])
    path = epoch_file(company)
    path.unlink()
    urls = {
        "database_url": company.stores.engine.url.render_as_string(hide_password=False),
        "key_database_url": company.stores.key_engine.url.render_as_string(hide_password=False),
        "broker_url": "redis://127.0.0.1:1/0",
    }
    for name, url in urls.items():
        monkeypatch.setenv(f"EXPUNGE_{name.upper()}", url)
    monkeypatch.setenv("EXPUNGE_CONFIG", "")
    monkeypatch.setenv("EXPUNGE_LOG_LEVEL", "")

    with pytest.raises(ConfigurationError, match=path.stem):
        prepare(company.settings, Servers(urls, ()))
    assert list(path.parent.iterdir()) == []


def test_an_epoch_that_is_given_up_leaves_its_requests_visible_and_unreadable(company: Company, run: Run) -> None:
    request = company.submit(company.world.ordinary[0])
    path = epoch_file(company)
    assert run("give-up-epoch", path.stem, "--operator", "ada").exit_code == 1  # Its key is there.
    unnamed = run("give-up-epoch", path.stem, "--operator", "Ada Byron")
    assert (unnamed.exit_code, "operator" in unnamed.output) == (1, True)
    path.unlink()

    given_up = run("give-up-epoch", path.stem, "--operator", "ada")

    assert given_up.exit_code == 0, given_up.output
    assert "1 data keys" in given_up.stdout
    stores = another_process(company)
    assert stores.keys.get([request_owner(request)]) == {}
    with pytest.raises(KeyLost):
        stores.keys.one(request_owner(request))
    with pytest.raises(KeyGone) as gone:
        stores.keys.one(request_owner(uuid4()))
    assert not isinstance(gone.value, KeyLost)
    with pytest.raises(WrongState, match="not sealed"):
        reveal_identifiers(stores, request, actor="cli")
    assert gauges(stores, company.settings)["expunge_data_keys_lost"] == 1
    found = run("status")
    assert found.exit_code == 1
    assert f"request/{request}" in found.output
    # The service goes on for everybody else, and the request is neither sealed nor answered.
    other = stores.keys.create_new([request_owner(uuid4())])
    rotate_epochs(stores, company.settings, now=True)
    assert stores.keys.get(list(other)) == other
    turn(WorkerContext(company.settings, stores))
    row = company.request(request)
    assert (row.state, row.sealed_at) == ("open", None)
    stores.close()


def test_only_a_missing_epoch_can_be_given_up(company: Company) -> None:
    company.submit(company.world.ordinary[0])
    rotate_epochs(company.stores, company.settings, now=True)
    current = company.stores.keys.epochs.all()[-1]
    with pytest.raises(WrongState):
        give_up_epoch(company.stores, find_epoch(company.stores, str(current.id)), operator="ada")


def test_a_changed_file_and_an_unknown_key_encryption_key_are_named(company: Company) -> None:
    company.submit(company.world.ordinary[0])
    path = epoch_file(company)
    written = path.read_text()
    path.write_text(written.replace('"wrapped_by": "kek-', '"wrapped_by": "kek-0'))
    with pytest.raises(EpochKeyUnusable, match="previous_key_encryption_keys"):
        company.stores.keys.check()
    path.write_text("{}")
    with pytest.raises(EpochKeyUnusable, match="not one of ours"):
        company.stores.keys.check()
    path.write_text(written)
    company.stores.keys.check()


def test_rotating_by_hand_and_looking_at_it(company: Company, run: Run) -> None:
    request = company.submit(company.world.ordinary[0])
    before = epoch_file(company).stem

    rotated = run("rotate-epoch", "--operator", "ada")

    assert rotated.exit_code == 0, rotated.output
    assert "a new epoch has begun" in rotated.stdout
    found = run("status", "--json")
    assert found.exit_code == 0, found.output
    assert before in found.stdout
    assert "retired" in found.stdout
    assert "current" in found.stdout
    ages = gauges(company.stores, company.settings)
    assert ages['expunge_encryption_epoch_age_seconds{state="current"}'] >= 0
    assert ages['expunge_encryption_epoch_age_seconds{state="retired"}'] >= 0
    assert ages["expunge_data_keys_lost"] == 0
    company.drive()
    assert company.request(request).state == "fulfilled"
