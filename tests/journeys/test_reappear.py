"""Somebody who was erased is back in the org: found by the running service, approved by a human, erased again.

All processes, a real broker and database, the org over HTTP. Nothing of the person stands anywhere on the way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from connectors.salesforce.sandbox.server import SalesforceSandbox
from service.audit.rebuild import replay_audit
from service.cli.demo.world import ORG
from tests.company import Company
from tests.journeys.canaries import files_under, found
from tests.journeys.service_up import logs_of, service_up
from tests.journeys.test_canary import dump, overheard, secrets_of

pytestmark = [pytest.mark.journey, pytest.mark.long]


def until(happened: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (result := happened()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.2)
    return result


@pytest.mark.timeout(400)
@pytest.mark.parametrize("company", [{"org": True, "accounts": ["support"], "people": 12}], indirect=True)
def test_somebody_who_is_back_is_found_and_erased_again(
    company: Company, database_url: str, key_database_url: str, broker_url: str, redis_url: str
) -> None:
    origin = company.settings.origin
    assert origin is not None
    origin.write_text(
        origin.read_text(encoding="utf-8") + "\n[suppression]\nsync_interval_seconds = 1\n", encoding="utf-8"
    )
    org = company.sandboxes[ORG]
    assert isinstance(org, SalesforceSandbox)
    person = next(p for p in company.world.ordinary if p.phones)
    urls = {"database_url": database_url, "key_database_url": key_database_url, "broker_url": broker_url}
    with overheard(redis_url) as heard, service_up(company, urls) as service:
        client = service.client

        def state_of(request: str) -> tuple[str, str | None]:
            view = client.get(f"/v1/requests/{request}?masks=false")
            return view["state"], view["reason"]

        def reappeared() -> list[Any]:
            return company.rows("SELECT id FROM requests WHERE reappearance_of IS NOT NULL")

        first = service.submit(person)
        until(lambda: state_of(first)[0] == "fulfilled")
        assert company.residue(person) == []
        until(lambda: company.rows("SELECT 1 FROM suppression_syncs WHERE last_success_at IS NOT NULL"))

        fields = {"LastName": "Again"}
        org.seed(
            {
                "records": [
                    {"object": "Contact", "person": "back", "fields": fields | {"Email": person.emails[0].title()}},
                    {"object": "Contact", "fields": fields | {"Email": "bystander@example.test"}},
                ]
            }
        )
        before = org.snapshot({"back"})
        until(reappeared)
        ((again,),) = reappeared()
        until(lambda: state_of(again) == ("in_progress", "awaiting_approval"))
        view = client.get(f"/v1/requests/{again}?masks=false")
        assert (view["reappearance_of"], view["plan"]["approval_reasons"]) == (first, ["reappeared"])
        metrics = client.text("/metrics")
        assert f'expunge_reappearances_total{{system="{ORG}"}} 1.0' in metrics
        client.post(f"/v1/requests/{again}/approve", {"plan_hash": view["plan"]["hash"]})
        until(lambda: state_of(again)[0] == "fulfilled")
        time.sleep(3)  # a few more looks, that open nothing
        systems = {each["name"]: each for each in client.get("/v1/systems")["systems"]}
        assert systems[ORG]["changes_error"] is None
        assert systems[ORG]["changes_read_at"] is not None
        certificate = json.dumps(client.get(f"/v1/requests/{again}/certificate")).encode()
    assert len(reappeared()) == 1
    assert company.residue(person) == []
    assert org.changed_bystanders(before) == []
    assert replay_audit(company.stores.engine).differences == ()
    places = {
        "broker during the run": b"".join(heard),
        "main store": dump(database_url),
        "certificate": certificate,
        "metrics": metrics.encode(),
        **files_under(logs_of(service.settings)),
    }
    assert b"expunge.sync_suppression" in places["broker during the run"]
    assert found(secrets_of([person]), places) == []
    assert company.deadlocks() == 0
