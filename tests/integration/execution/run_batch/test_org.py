"""A request's whole way with a Salesforce org among the systems: nothing is left of the person, nobody else touched."""

from __future__ import annotations

from collections import Counter

import pytest

from connectors.salesforce.sandbox.server import SalesforceSandbox
from service.cli.demo.world import ORG
from tests.company import Company

_KINDS = {
    *("Account", "Asset", "Attachment", "AuthorizationFormConsent", "CampaignMember", "Case", "CaseComment"),
    *("CaseContactRole", "CaseHistory", "CommSubscriptionConsent", "Contact", "ContactHistory", "ContactPointConsent"),
    *("ContactPointEmail", "ContactPointTypeConsent", "ContentDocument", "ContentDocumentLink", "ContentVersion"),
    *("EmailMessage", "EmailMessageRelation", "EntitySubscription", "Event", "FeedComment", "FeedItem", "Individual"),
    *("Lead", "LiveChatTranscript", "Loyalty_Card__c", "Loyalty_Entry__c", "Note", "Opportunity"),
    *("OpportunityContactRole", "AccountContactRole", "Task", "TaskRelation", "TopicAssignment", "WorkOrder"),
    *("acme__Pledge__c", "acme__Pledge_Line__c", "acme__Audit__c"),
}
_SHARED = {"Account", "Opportunity"}


@pytest.mark.parametrize("company", [{"org": True, "accounts": ["support"]}], indirect=True)
def test_a_person_with_records_of_every_kind_is_erased_from_the_org_and_nobody_else(company: Company) -> None:
    org = company.sandboxes[ORG]
    assert isinstance(org, SalesforceSandbox)
    person, other = company.world.ordinary[:2]
    assert _kinds_of(org, person.ref) | _SHARED == _KINDS
    before = org.snapshot({person.ref})

    request = company.submit(person)
    company.drive()

    step = company.steps(request)[ORG]
    assert (step.state, company.request(request).state) == ("erased_verified", "fulfilled")
    assert company.residue(person) == []
    assert _kinds_of(org, person.ref) == set()
    assert org.changed_bystanders(before) == []
    assert _kinds_of(org, other.ref) | _SHARED == _KINDS


def _kinds_of(org: SalesforceSandbox, person: str) -> set[str]:
    """Objects of which the person has records, as the marks of the seed say."""
    org.advance()
    return set(Counter(name for name, row in org.store.rows() if row.get("@person") == person))
