"""Queues per kind of connector, and workers that are added beside a running service."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import redis
from typer.testing import CliRunner

from connectors.base.config import ConfigurationError
from service.cli.main import app
from service.cli.running.installation import system_workers
from service.cli.running.supervise import python
from service.settings import Settings, load_settings
from service.store.encryption.secrets import audit_signing_key
from tests.company import Company
from tests.scenes import person_in, turn_until
from workers.queues import queue_of

SMALL = pytest.mark.parametrize("company", [{"people": 30, "accounts": ["support"]}], indirect=True)


def with_own_workers(company: Company, kind: str = "zendesk") -> Settings:
    assert company.settings.origin is not None
    text = company.settings.origin.read_text(encoding="utf-8")
    changed = company.settings.origin.with_name("changed.toml")
    changed.write_text(
        text.replace("[service]\n", f"[service]\ndedicated_workers = {{ {kind} = 2 }}\n", 1), encoding="utf-8"
    )
    return load_settings(changed)


@SMALL
def test_a_kind_with_workers_of_its_own_has_a_queue_of_its_own(company: Company) -> None:
    settings = with_own_workers(company)
    assert queue_of(settings, "zendesk") == "expunge.systems.zendesk"
    assert queue_of(settings, "mailchimp") == "expunge.systems"
    command = system_workers(queue_of(settings, "zendesk"), 2, "some").command
    assert ("-Q", "expunge.systems.zendesk") in list(pairwise(command))
    none = replace(settings, service=settings.service.model_copy(update={"dedicated_workers": {}}))
    assert queue_of(none, "zendesk") == "expunge.systems"
    with pytest.raises(ConfigurationError, match="dedicated_workers"):
        with_own_workers(company, kind="zendesc")


@pytest.mark.long
@SMALL
def test_added_workers_take_their_kinds_nudges_and_do_the_work(
    company: Company, database_url: str, key_database_url: str, broker_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = with_own_workers(company)
    assert settings.origin is not None
    audit_signing_key(settings)
    company.submit(person_in(company, "support"))
    turn_until(company, lambda: company.rows("SELECT 1 FROM steps WHERE system = 'support'"), only=lambda _: False)
    before = company.rows(
        "SELECT count(*) AS n FROM attempts a JOIN steps s ON s.id = a.step_id WHERE system = 'support'"
    )
    environment = {
        "EXPUNGE_DATABASE_URL": database_url,
        "EXPUNGE_KEY_DATABASE_URL": key_database_url,
        "EXPUNGE_BROKER_URL": broker_url,
        "PATH": "/usr/bin:/bin",
    }
    # A message as the dispatcher sends it, in the queue of this kind only.
    from celery import Celery

    Celery(broker=broker_url).send_task("expunge.work_system", args=["support"], queue=queue_of(settings, "zendesk"))
    with redis.Redis.from_url(redis_url) as client:
        (message,) = client.lrange("expunge.systems.zendesk", 0, -1)
        assert json.loads(base64.b64decode(json.loads(message)["body"]))[0] == ["support"]
    command = python(
        "-m", "service.cli.main", "workers", "--config", str(settings.origin), "--kind", "zendesk", "--count", "1"
    )
    with (tmp_path / "workers.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 90
            tried = before[0].n
            while tried == before[0].n and time.monotonic() < until:
                assert process.poll() is None, (tmp_path / "workers.log").read_text()
                time.sleep(0.1)
                tried = company.rows(
                    "SELECT count(*) AS n FROM attempts a JOIN steps s ON s.id = a.step_id"
                    " WHERE system = 'support' AND a.ended_at IS NOT NULL"
                )[0].n
            assert tried > before[0].n
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(60)
            _, alive = psutil.wait_procs(children, 10)
            assert alive == [], "workers outlived the command"


@SMALL
def test_workers_make_no_keys_of_their_own(
    company: Company, database_url: str, key_database_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert company.settings.origin is not None
    for name, url in (("", database_url), ("KEY_", key_database_url)):
        monkeypatch.setenv(f"EXPUNGE_{name}DATABASE_URL", url)
    monkeypatch.setenv("EXPUNGE_BROKER_URL", broker_url)
    pepper = company.settings.service.data_directory / "keys" / "pepper"
    pepper.unlink()
    told = CliRunner().invoke(app, ["workers", "--config", str(company.settings.origin)])
    assert told.exit_code == 2
    assert "keys.pepper" in told.output
    assert not pepper.exists()
    told = CliRunner().invoke(app, ["workers", "--config", str(company.settings.origin), "--kind", "mailchimp"])
    assert told.exit_code == 2
    assert "dedicated_workers" in told.output
