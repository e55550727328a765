"""A vendor's signed callback has people looked at sooner, over real HTTP, and brings about nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from connectors.base.callbacks import Callback, CallbackCall
from connectors.base.toolkit.callbacks import HmacSignature
from connectors.testing.sandbox import SandboxServer
from connectors.testing.sandbox.sample_world import SamplePerson
from service.api.app import create_app
from service.execution import callbacks as hear_callback
from service.execution.systems.sync_config import sync_systems
from service.settings import parse_settings
from tests.company import Company
from tests.faults.harness import job_vendor
from tests.faults.harness.eight_systems import installed, write_plugin
from tests.faults.harness.job_vendor import CALLBACK_SECRET, JobVendorConnector, JobVendorSandbox
from tests.integration.api.conftest import serving
from tests.scenes import use, write

HOUR = 3600.0
pytestmark = pytest.mark.parametrize("company", [{"people": 12}], indirect=True)


class Jobs:
    """A company whose only system works by jobs and is asked for them once an hour."""

    def __init__(self, company: Company, vendor: JobVendorSandbox, url: str) -> None:
        self.company = company
        self.vendor = vendor
        self.url = f"{url}/v1/callbacks/jobs"
        self.base_url = url

    def accepted(self, *people: SamplePerson, job_seconds: float = 0.0) -> UUID:
        """Submit people together and turn the engine until the vendor works on their job. Returns the last request."""
        self.vendor.options["job_seconds"] = 1e6
        for person in people:
            self.vendor.seed({"people": [{"id": person.customer_id, "email": person.emails[0], "name": "x"}]})
            request = self.company.submit(person)
        self.company.drive()
        assert self.step(request).state == "accepted"
        for job in self.vendor.state["jobs"].values():
            if not job["done"]:
                job["done_at"] = (self.vendor.now() + timedelta(seconds=job_seconds)).isoformat()
        return request

    def step(self, request: UUID) -> Any:
        """The request's only step."""
        return self.company.steps(request)["jobs"]

    def newest_job(self) -> str:
        """The vendor's name of the job that was opened last."""
        return f"j-{len(self.vendor.references())}"

    def looks(self, job: str) -> int:
        """How often the vendor was asked about a job."""
        return sum(entry["path"] == f"/jobs/{job}" for entry in self.vendor.journal)

    def due_times(self) -> list[datetime]:
        """When everybody is due, in an order that stays."""
        return [row.due_at for row in self.company.rows("SELECT due_at FROM steps ORDER BY id")]


@pytest.fixture
def jobs(company: Company, tmp_path: Path) -> Iterator[Jobs]:
    vendor = JobVendorSandbox({})
    with installed(write_plugin(tmp_path)), SandboxServer({"": vendor}) as server:
        entry = {
            "name": "jobs",
            "connector": job_vendor.NAME,
            "base_url": server.url(),
            "allow_private_hosts": ["127.0.0.1"],
            "credentials": {"token": job_vendor.TOKEN, "callback_secrets": ["the-secret-before", CALLBACK_SECRET]},
            "delays": {"confirm_after": 0, "poll_every": HOUR},
        }
        silent = {
            "name": "support",
            "connector": "zendesk",
            "base_url": server.url(),
            "allow_private_hosts": ["127.0.0.1"],
            "credentials": {"email": "privacy@example.test", "api_token": "stand-in"},
        }
        systems = parse_settings({"systems": [entry, silent]}).systems
        use(company, replace(company.settings, systems=systems))
        sync_systems(company.stores, company.settings)
        use(company, replace(company.settings, systems=systems[:1]))
        sync_systems(company.stores, company.settings)
        with serving(create_app(company.stores, replace(company.settings, systems=systems))) as url:
            yield Jobs(company, vendor, url)


def test_a_callback_ends_a_step_sooner_than_its_poll(jobs: Jobs) -> None:
    request = jobs.accepted(jobs.company.world.ordinary[0])
    jobs.company.drive()
    assert jobs.step(request).state == "accepted"
    assert jobs.step(request).due_at > datetime.now(UTC) + timedelta(seconds=HOUR / 2)
    # The vendor's name of its job is stored as a keyed hash only, which means nothing in another system.
    pepper = jobs.company.stores.pepper
    assert [bytes(one) for one in jobs.step(request).job_hashes] == [pepper.of_job("jobs", "j-1")]
    assert pepper.of_job("jobs", "j-1") != pepper.of_job("other", "j-1")

    assert jobs.vendor.call_back(jobs.url, "j-1") == 202
    jobs.company.drive()

    assert jobs.step(request).state == "erased_verified"
    assert jobs.step(request).job_hashes is None
    assert jobs.vendor.records() == []


def test_only_those_who_wait_for_the_named_job_are_looked_at(jobs: Jobs) -> None:
    first = jobs.accepted(*jobs.company.world.ordinary[:3])
    second = jobs.accepted(jobs.company.world.ordinary[5])
    assert len(jobs.vendor.references()) == 2
    logged = jobs.company.rows("SELECT count(*) AS n FROM audit_pending")
    before = jobs.due_times()
    with jobs.company.stores.engine.begin() as connection:
        # Whoever is being worked on isn't waited for.
        connection.execute(text("SELECT 1 FROM steps FOR NO KEY UPDATE"))
        assert jobs.vendor.call_back(jobs.url, "j-1") == 202
    assert jobs.due_times() == before

    assert jobs.vendor.call_back(jobs.url, "j-1") == 202
    assert jobs.vendor.call_back(jobs.url, "j-99") == 202

    due = jobs.company.rows("SELECT request_id, state FROM steps WHERE due_at <= clock_timestamp()")
    assert len(due) == 3
    assert {row.state for row in due} == {"accepted"}
    assert first in {row.request_id for row in due}
    assert second not in {row.request_id for row in due}
    # Only due times moved, and the log tells of those nowhere.
    assert jobs.company.rows("SELECT count(*) AS n FROM audit_pending") == logged


def test_a_look_that_counts_never_comes_before_the_vendors_delay(jobs: Jobs) -> None:
    request = jobs.accepted(jobs.company.world.ordinary[0])
    delays = {"confirm_after": timedelta(minutes=10), "poll_every": timedelta(seconds=HOUR)}
    (system,) = jobs.company.settings.systems
    settings = replace(jobs.company.settings, systems=(replace(system, config=replace(system.config, delays=delays)),))
    write(jobs.company, "UPDATE steps SET phase = 'confirm', effect_at = clock_timestamp()")

    call = jobs.vendor.signed_callback("j-1")
    hear_callback.hear_callback(jobs.company.stores, settings, "jobs", call, datetime.now(UTC))

    step = jobs.step(request)
    assert step.due_at == step.effect_at + timedelta(minutes=10)
    write(jobs.company, "UPDATE steps SET phase = 'erase'")


def tell_lies(jobs: Jobs, request: UUID) -> None:
    """The vendor says that a job is done while it runs: the step is looked at, and goes back to its poll."""
    looked = jobs.looks("j-1")
    for says in ("done", "erased", "deleted"):
        assert jobs.vendor.call_back(jobs.url, "j-1", says=says) == 202
        assert (jobs.step(request).state, jobs.step(request).phase) == ("accepted", "erase")
    jobs.company.drive()
    assert (jobs.step(request).state, jobs.step(request).phase) == ("accepted", "erase")
    assert jobs.step(request).due_at > datetime.now(UTC) + timedelta(seconds=20)
    assert len(jobs.vendor.records()) == 1
    assert jobs.looks("j-1") == looked + 1


def test_a_callback_is_not_believed_and_a_service_that_believes_is_caught(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = jobs.accepted(jobs.company.world.ordinary[0], job_seconds=HOUR)
    tell_lies(jobs, request)
    real = hear_callback._look_sooner

    def believe(stores: Any, settings: Any, system: str, callback: Callback) -> int:
        with stores.engine.begin() as connection:
            connection.execute(text("UPDATE steps SET state = 'erased_unverified', ended_at = now()"))
        return real(stores, settings, system, callback)

    monkeypatch.setattr(hear_callback, "_look_sooner", believe)
    with pytest.raises(AssertionError):
        tell_lies(jobs, request)
    write(jobs.company, "UPDATE steps SET state = 'accepted', ended_at = NULL")


def flood(jobs: Jobs, person: SamplePerson, pause_seconds: float) -> int:
    """The same genuine call, again and again, while the engine turns. Returns how often the vendor was asked."""
    engine = jobs.company.settings.engine.model_copy(update={"min_callback_interval_seconds": pause_seconds})
    settings = replace(jobs.company.settings, engine=engine)
    jobs.accepted(person, job_seconds=HOUR)
    job = jobs.newest_job()
    looked = jobs.looks(job)
    call = jobs.vendor.signed_callback(job)
    for _ in range(5):
        heard = hear_callback.hear_callback(jobs.company.stores, settings, "jobs", call, datetime.now(UTC))
        assert heard in (hear_callback.CallbackOutcome.SOONER, hear_callback.CallbackOutcome.NOTHING_TO_DO)
        jobs.company.drive(patience_seconds=0.05)
    return jobs.looks(job) - looked


def test_a_flood_of_copies_asks_the_vendor_once(jobs: Jobs) -> None:
    assert flood(jobs, jobs.company.world.ordinary[0], 30.0) == 1
    # The second call wasn't lost: it is heeded when the pause is over.
    (due,) = jobs.due_times()
    assert timedelta(0) < due - datetime.now(UTC) <= timedelta(seconds=30)
    # Without the pause every copy is a call.
    assert flood(jobs, jobs.company.world.ordinary[1], 0.0) == 5


def refusals(jobs: Jobs) -> dict[str, tuple[str, CallbackCall]]:
    """What isn't the vendor's, by what is wrong with it."""
    genuine, vendor = jobs.vendor.signed_callback("j-1"), jobs.vendor
    now = vendor.now()
    return {
        "unknown system": (f"{jobs.base_url}/v1/callbacks/nobody", genuine),
        "no name at all": (f"{jobs.base_url}/v1/callbacks/%20..%00", genuine),
        "doesn't call back": (f"{jobs.base_url}/v1/callbacks/support", genuine),
        "unsigned": (jobs.url, CallbackCall({}, genuine.body)),
        "another secret": (jobs.url, vendor.signed_callback("j-1", secret="somebody-elses-secret")),
        "another body": (jobs.url, CallbackCall(genuine.headers, genuine.body.replace(b"j-1", b"j-2"))),
        "too old": (jobs.url, vendor.signed_callback("j-1", at=now - timedelta(minutes=6))),
        "of tomorrow": (jobs.url, vendor.signed_callback("j-1", at=now + timedelta(days=1))),
        "nothing": (jobs.url, CallbackCall({}, b"")),
    }


def refuse_all(jobs: Jobs) -> None:
    """Whatever isn't the vendor's moves nobody, and every answer is the same."""
    before = jobs.due_times()
    answers = set()
    for case, (url, call) in refusals(jobs).items():
        answer = httpx.post(url, content=call.body, headers=dict(call.headers))
        assert answer.status_code == 401, case
        assert answer.headers["content-type"] == "application/problem+json"
        answers.add((answer.content, *(v for k, v in answer.headers.items() if k != "date")))
        assert jobs.due_times() == before, case
    assert len(answers) == 1


def _never_checked(scheme: HmacSignature, call: CallbackCall, secrets: Any, now: datetime) -> None:
    return None


def test_what_the_vendor_did_not_sign_is_refused_alike_and_moves_nobody(
    jobs: Jobs,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs.accepted(jobs.company.world.ordinary[0])
    refuse_all(jobs)
    assert jobs.vendor.call_back(jobs.url, "j-1", says="ada@example.test") == 202
    said = capfd.readouterr()
    signature = jobs.vendor.signed_callback("j-1").headers["x-jobs-signature"]
    for private in ("ada@example.test", "j-1", CALLBACK_SECRET, signature):
        assert private not in said.out + said.err + caplog.text

    monkeypatch.setattr(HmacSignature, "check", _never_checked)
    with pytest.raises(AssertionError):
        refuse_all(jobs)


def test_a_vendor_that_names_no_job_has_everybody_looked_at_once(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.accepted(*jobs.company.world.ordinary[:2])
    jobs.accepted(jobs.company.world.ordinary[3])
    real = JobVendorConnector.read_callback

    def of_any(system: Any, call: CallbackCall, now: datetime) -> Callback:
        real(system, call, now)
        return Callback.of_any_job()

    monkeypatch.setattr(JobVendorConnector, "read_callback", of_any)
    for _ in range(3):
        assert jobs.vendor.call_back(jobs.url, "j-1") == 202
    assert all(due <= datetime.now(UTC) for due in jobs.due_times())
    jobs.company.drive()
    assert {row.state for row in jobs.company.rows("SELECT state FROM steps")} == {"erased_verified"}
