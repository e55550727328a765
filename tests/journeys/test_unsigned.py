"""The running service loses the use of its signing key: it says so, erases nothing more, and goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.company import Company
from tests.journeys.service_up import service_up

pytestmark = [pytest.mark.journey, pytest.mark.long]
_BOUND_SECONDS = 4


def until(happened: Callable[[], Any], seconds: float = 150) -> Any:
    end = time.monotonic() + seconds
    while not (result := happened()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.2)
    return result


@pytest.mark.timeout(500)
@pytest.mark.parametrize("company", [{"people": 12}], indirect=True)
def test_without_a_signature_nothing_new_is_erased(
    company: Company, database_url: str, key_database_url: str, broker_url: str
) -> None:
    origin = company.settings.origin
    assert origin is not None
    origin.write_text(f"{origin.read_text()}\n[audit]\nmax_unsequenced_seconds = {_BOUND_SECONDS}\n")
    urls = {"database_url": database_url, "key_database_url": key_database_url, "broker_url": broker_url}
    key = company.settings.service.data_directory / "keys" / "audit.key"
    first, second = company.world.ordinary[:2]
    with service_up(company, urls, data_key_retention_seconds=3600.0) as service:
        url = f"http://127.0.0.1:{service.settings.service.listen_port}"
        http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {service.secret}"}, timeout=30)

        def state_of(request: str) -> str:
            return str(http.get(f"/v1/requests/{request}?masks=false").json()["state"])

        def unready() -> str:
            answer = http.get("/readyz")
            return "" if answer.status_code == 200 else str(answer.json()["detail"])

        def effects(request: str) -> int:
            count = "SELECT count(*) FROM attempts a JOIN steps s ON s.id = a.step_id WHERE s.request_id = :id"
            return int(company.rows(f"{count} AND a.phase IN ('suppress', 'erase')", id=request)[0][0])

        done = service.submit(first)
        until(lambda: state_of(done) == "fulfilled")
        assert not unready()

        key.chmod(0o644)
        until(lambda: "signing_key_unusable" in unready())
        refused = http.get(f"/v1/requests/{done}/certificate")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert "audit.key is open to others" in refused.json()["detail"]
        assert refused.headers["Retry-After"]
        for path in (
            f"/v1/requests/{done}/certificate.pdf",
            "/v1/audit/export",
            "/v1/audit/reports/metrics?period=2026",
        ):
            assert http.get(path).status_code == 503, path
        until(lambda: "audit_unsequenced" in unready())

        held_back = service.submit(second)
        steps = "SELECT state, phase FROM steps WHERE request_id = :id AND plan_version IS NOT NULL"
        until(lambda: company.rows(steps, id=held_back))
        time.sleep(2 * _BOUND_SECONDS)
        assert effects(held_back) == 0
        assert company.residue(second)
        metrics = http.get("/metrics").text
        assert 'expunge_effects_stopped{reason="audit_unsequenced"} 1.0' in metrics
        assert 'expunge_audit_failing_seconds{code="signing_key_unusable",part="signing"}' in metrics

        key.chmod(0o600)
        until(lambda: not unready())
        until(lambda: state_of(held_back) == "fulfilled")
        assert effects(held_back) > 0
        until(lambda: not company.residue(second))
        for request in (done, held_back):
            assert http.get(f"/v1/requests/{request}/certificate").status_code == 200
        assert not company.rows("SELECT 1 FROM audit_pending WHERE refused IS NOT NULL")
        http.close()
