"""A company with an org whose changes are read; after every test the audit log is replayed: it must give the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from connectors.base.sandbox.sample_world import SamplePerson
from connectors.salesforce.sandbox import SalesforceSandbox
from service.cli.demo.world import ORG
from service.domain.api_key import Caller, Scope
from service.use_cases.approve_plan import approve_plan
from service.use_cases.replay_audit import replay_audit
from tests.audit_replay import differences
from tests.company import Company
from tests.integration.suppression.changing_system import ChangingSystem, install
from tests.scenes import use
from workers.sync_suppression import sync_system


@dataclass
class Scene:
    """What these tests do again and again."""

    company: Company

    @property
    def org(self) -> SalesforceSandbox:
        """The stand-in, which everybody sees from outside."""
        org = self.company.sandboxes[ORG]
        assert isinstance(org, SalesforceSandbox)
        return org

    def policy(self, **suppression: Any) -> None:
        """Other settings of `[suppression]` from now on."""
        settings = self.company.settings
        use(self.company, replace(settings, suppression=settings.suppression.model_copy(update=suppression)))

    def erase(self, person: SamplePerson) -> UUID:
        """Erase somebody, to the end."""
        request = self.company.submit(person)
        self.company.drive()
        assert self.company.request(request).state == "fulfilled"
        assert self.company.residue(person) == []
        return request

    def put(self, kind: str, *, whose: str | None = None, **fields: Any) -> str:
        """A new record in the org; its id. `whose`: the mark by which a snapshot leaves it out."""
        needed = {"Contact": {"LastName": "Again"}, "Lead": {"LastName": "Again", "Company": "-", "Status": "New"}}
        ref = uuid4().hex
        self.org.seed({"records": [{"object": kind, "ref": ref, "fields": needed[kind] | fields, "person": whose}]})
        return str(self.org.id_of(ref))

    def there(self, *ids: str) -> list[str]:
        """Those of these records that the org still has, the recycle bin included."""
        self.org.advance()
        return [i for i in ids if self.org.store.row(i) is not None]

    def sync(self, *, due: bool = True) -> int:
        """One sync of the org, as a nudged worker does it. Returns how many requests were opened."""
        if due:
            self.run("UPDATE suppression_syncs SET due_at = clock_timestamp()")
        return sync_system(self.company.runtime, ORG, admission=None, stay_seconds=60.0)

    @property
    def row(self) -> Any:
        """The org's sync."""
        return self.company.rows("SELECT * FROM suppression_syncs WHERE system = :s", s=ORG)[0]

    def opened(self) -> list[Any]:
        """Requests of people who re-appeared, in the order in which they were opened."""
        return self.company.rows("SELECT * FROM requests WHERE reappearance_of IS NOT NULL ORDER BY created_at")

    def run(self, statement: str, **values: Any) -> None:
        """Any change of the main store."""
        with self.company.stores.engine.begin() as connection:
            connection.execute(text(statement), values)

    def approve(self, request: UUID) -> None:
        """A second person lets the newest plan begin."""
        plan = self.company.rows("SELECT hash FROM plans WHERE request_id = :r ORDER BY version DESC", r=request)[0]
        caller = Caller(uuid4(), frozenset({Scope.REQUESTS_APPROVE}))
        approve_plan(self.company.stores, self.company.settings, request, plan_hash=plan.hash, caller=caller)


@pytest.fixture
def scene(company: Company) -> Iterator[Scene]:
    yield Scene(company)
    assert differences(company.stores.engine) == []
    assert replay_audit(company.stores.engine).differences == ()


@pytest.fixture
def changing(company: Company, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChangingSystem]:
    yield install(company, monkeypatch)
    assert differences(company.stores.engine) == []
    assert replay_audit(company.stores.engine).differences == ()
