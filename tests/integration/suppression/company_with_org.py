"""What the tests of the whole way do again and again: records in the org, a sync, an approval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from connectors.salesforce.sandbox.server import SalesforceSandbox
from connectors.testing.sandbox.sample_world import SamplePerson
from service.cli.demo.world import ORG
from service.domain.access.api_key import Caller, Scope
from service.requests.planning.approve import approve_plan
from tests.company import Company
from tests.scenes import use
from workers.scan_changes import sync_system

_NEEDED = {"Contact": {"LastName": "Again"}, "Lead": {"LastName": "Again", "Company": "-", "Status": "New"}}


@dataclass
class CompanyWithOrg:
    """A company, and its org as everybody sees it from outside."""

    company: Company

    @property
    def org(self) -> SalesforceSandbox:
        """The stand-in."""
        org = self.company.sandboxes[ORG]
        assert isinstance(org, SalesforceSandbox)
        return org

    def policy(self, reappearance: str) -> None:
        """Another policy from now on."""
        settings = self.company.settings
        changed = settings.suppression.model_copy(update={"reappearance": reappearance})
        use(self.company, replace(settings, suppression=changed))

    def erase(self, person: SamplePerson) -> UUID:
        """Erase somebody, to the end."""
        request = self.company.submit(person)
        self.company.drive()
        assert self.company.request(request).state == "fulfilled"
        assert self.company.residue(person) == []
        return request

    def put(self, kind: str, *, whose: str | None = None, **fields: Any) -> str:
        """A new record in the org; its id. `whose`: the mark by which a snapshot leaves it out."""
        ref = uuid4().hex
        record = {"object": kind, "ref": ref, "fields": _NEEDED[kind] | fields, "person": whose}
        self.org.seed({"records": [record]})
        return str(self.org.id_of(ref))

    def there(self, *ids: str) -> list[str]:
        """Those of these records that the org still has, the recycle bin included."""
        self.org.advance()
        return [i for i in ids if self.org.store.row(i) is not None]

    def sync(self) -> int:
        """One sync of the org, as a nudged worker does it. Returns how many requests were opened."""
        with self.company.stores.engine.begin() as connection:
            connection.execute(text("UPDATE suppression_syncs SET due_at = clock_timestamp()"))
        return sync_system(self.company.runtime, ORG, admission=None, stay_seconds=60.0)

    @property
    def row(self) -> Any:
        """The org's sync."""
        return self.company.rows("SELECT * FROM suppression_syncs WHERE system = :s", s=ORG)[0]

    def opened(self) -> list[Any]:
        """Requests of people who re-appeared, in the order in which they were opened."""
        return self.company.rows("SELECT * FROM requests WHERE reappearance_of IS NOT NULL ORDER BY created_at")

    def approve(self, request: UUID) -> None:
        """A second person lets the newest plan begin."""
        plan = self.company.rows("SELECT hash FROM plans WHERE request_id = :r ORDER BY version DESC", r=request)[0]
        caller = Caller(uuid4(), frozenset({Scope.REQUESTS_APPROVE}))
        approve_plan(self.company.stores, self.company.settings, request, plan_hash=plan.hash, caller=caller)
