"""The log tells under which configuration the service started, and never a secret of it."""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

from pydantic import SecretStr

from service.audit.log_configuration import configuration_hash, log_configuration
from service.settings import Settings, load_settings
from tests.company import Company


def test_each_start_is_an_entry_with_the_configurations_hash(company: Company) -> None:
    for _ in range(2):
        log_configuration(company.stores, company.settings)
    told = [json.loads(bytes(row.entry)) for row in company.rows("SELECT entry FROM audit_pending ORDER BY id")][-2:]
    assert {entry["event"] for entry in told} == {"configuration_loaded"}
    assert len({UUID(entry["object_id"]) for entry in told}) == 2
    assert {entry["data"]["configuration_hash"] for entry in told} == {configuration_hash(company.settings)}


def test_another_setting_gives_another_hash_and_another_secret_none(company: Company) -> None:
    settings = company.settings
    assert settings.origin is not None
    known = configuration_hash(settings)
    assert configuration_hash(load_settings(settings.origin)) == known
    others: list[Settings] = [
        replace(settings, engine=settings.engine.model_copy(update={"tick_seconds": 7.5})),
        replace(settings, audit=settings.audit.model_copy(update={"retention_seconds": 9e9})),
        replace(settings, systems=settings.systems[1:]),
        replace(settings, systems=(replace(settings.systems[0], fingerprint="ab" * 32), *settings.systems[1:])),
        replace(settings, identity_graph=None),
    ]
    assert len({known, *map(configuration_hash, others)}) == 1 + len(others)
    secret = settings.database.model_copy(update={"url": SecretStr("postgresql://ada:secret@db.example.test/x")})
    before = settings.database.model_copy(update={"url": SecretStr("postgresql://ada:another@db.example.test/x")})
    assert configuration_hash(replace(settings, database=secret)) == configuration_hash(
        replace(settings, database=before)
    )
