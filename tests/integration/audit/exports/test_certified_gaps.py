"""What a connector declares that it doesn't cover is on the certificate, on paper and in the reports, for every one."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from connectors.base.registry import connectors
from connectors.warehouse.connector import WarehouseConnector
from service.audit.exports.certificate import issue_certificate
from service.audit.exports.certificate_pdf import print_certificate
from service.audit.exports.report import report_from_log
from service.domain.reports.report import parse_period
from service.execution.systems.sync_config import sync_systems
from service.requests.show import show_request
from service.store.encryption.secrets import audit_signing_key
from tests.company import Company


def certified(company: Company, request_id: UUID) -> tuple[bytes, dict[str, Any]]:
    key = audit_signing_key(company.settings)
    issued = issue_certificate(company.stores, company.settings, key, request_id, actor="cli")
    return issued.content, {s["system"]: s for s in json.loads(issued.content)["certificate"]["systems"]}


def reported(company: Company, name: str) -> dict[str, Any]:
    key = audit_signing_key(company.settings)
    period = parse_period(str(datetime.now(UTC).year), ZoneInfo("UTC"))
    report = report_from_log(
        company.stores.engine, key, name, period=period, regime=None, form="json", controller="Tea and Kettles"
    )
    return {row["system"]: row for row in json.loads(report.content)["rows"]}


def declared(company: Company) -> dict[str, set[str]]:
    kinds = {s.config.name: s.config.connector for s in company.settings.systems}
    return {name: set(connectors()[kind].declaration.not_covered) for name, kind in kinds.items()}


@pytest.mark.parametrize("company", [{"org": True, "people": 20}], indirect=True)
def test_gaps_of_every_system_are_certified(company: Company) -> None:
    request_id = company.submit(company.world.ordinary[0])
    company.drive()

    content, systems = certified(company, request_id)
    words = re.findall(r"\(((?:[^()\\]|\\.)*)\) Tj", print_certificate(content).decode("latin-1"))
    paper = re.sub(r"\W+", " ", " ".join(words))
    shown = {step.system: step for step in show_request(company.stores, request_id).steps}
    recipients, health = reported(company, "recipients"), reported(company, "systems")
    assert set(systems) == set(declared(company))
    for name, gaps in declared(company).items():
        assert gaps, f"{name}: a connector that covers everything would be a wonder"
        assert gaps <= set(systems[name]["not_covered"]), name
        assert gaps <= set(shown[name].not_covered), name
        for report in (recipients, health):
            assert gaps == set(report[name]["not_covered"].split("; ")), name
        for gap in gaps:
            assert gap.replace("_", " ") in paper, gap


@pytest.mark.parametrize("company", [{"people": 20, "accounts": ("support",)}], indirect=True)
def test_gaps_of_every_connector_are_known_to_the_engine(company: Company) -> None:
    """Certificates and reports read the gaps from the systems' rows: no connector has to repeat its own."""
    example = company.settings.systems[0]
    systems = tuple(
        dataclasses.replace(example, config=dataclasses.replace(example.config, name=kind, connector=kind))
        for kind in connectors()
    )
    sync_systems(company.stores, dataclasses.replace(company.settings, systems=systems))
    rows = company.rows("SELECT name, not_covered FROM systems WHERE state = 'active'")
    known = {row.name: set(row.not_covered) for row in rows}
    assert known == {name: set(kind.declaration.not_covered) for name, kind in connectors().items()}
    assert all(known.values()), "a connector that covers everything would be a wonder"


@pytest.mark.parametrize("company", [{"people": 20, "accounts": ("support",)}], indirect=True)
def test_a_step_that_ended_without_an_answer_hides_no_gap(company: Company) -> None:
    request_id = company.submit(company.world.ordinary[0])
    company.drive()
    with company.stores.engine.begin() as connection:
        # As rows are that a human ended, or that ended before this was recorded.
        connection.exec_driver_sql("UPDATE steps SET not_covered = '{}'")
    systems = certified(company, request_id)[1]
    for name, gaps in declared(company).items():
        assert gaps <= set(systems[name]["not_covered"]), name


@pytest.mark.parametrize("company", [{"people": 20, "accounts": ("support",)}], indirect=True)
def test_a_gap_that_is_closed_later_stays_on_earlier_steps(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = company.submit(company.world.ordinary[0])
    company.drive()
    without = dataclasses.replace(WarehouseConnector.declaration, not_covered=("backups", "a_new_gap"))
    monkeypatch.setattr(WarehouseConnector, "declaration", without)
    sync_systems(company.stores, company.settings)
    gaps = set(certified(company, request_id)[1]["identity-graph"]["not_covered"])
    assert gaps == {"backups", "freed_storage", "tables_not_listed", "a_new_gap"}
    events = company.rows("SELECT state, version FROM systems WHERE name = 'identity-graph'")
    assert events[0].version > 1, "a changed declaration is in the log"
    before = events[0].version
    sync_systems(company.stores, company.settings)
    assert company.rows("SELECT version FROM systems WHERE name = 'identity-graph'")[0].version == before
