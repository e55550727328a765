"""The demo's Salesforce org: its people, some with a record of every kind that can hang on a person.

Decides which records exist and to whom they belong; the people are the sample world's. A person's own record holds a
value of the person, so that it would be found if it were left. A shared record (a task, a file, a deal) holds none.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from connectors.testing.sandbox.sample_world import SamplePerson, SampleWorld

_HOUSEHOLD = 3  # people under one account


class OrgRecord(TypedDict):
    """One record of the seed; `person` is its owner, `ref` its name for references."""

    object: str
    fields: dict[str, str | bool]
    person: NotRequired[str]
    ref: NotRequired[str]
    deleted: NotRequired[bool]


def org_seed(world: SampleWorld) -> dict[str, list[OrgRecord]]:
    """The stand-in's seed."""
    org = _Org()
    org.add(None, "Campaign", "campaign", Name="Spring tea")
    org.add(None, "User", "clerk", Username="clerk@shop.example", Email="clerk@shop.example", LastName="C", Alias="c")
    for position, (person, is_rich) in enumerate(world.org_members()):
        home = f"home-{position // _HOUSEHOLD}"
        if position % _HOUSEHOLD == 0:
            org.open_household(home)
        org.add_person(person, home)
        if is_rich:
            org.add_life(person, home)
    return {"records": org.records}


class _Org:
    """Records in the order of their making; a reference is `@` and the name of another record."""

    def __init__(self) -> None:
        self.records: list[OrgRecord] = []

    def add(self, person: str | None, kind: str, ref: str | None, **fields: str | bool) -> None:
        """Add a record; `person` is its owner, None for a shared record."""
        record: OrgRecord = {"object": kind, "fields": fields}
        if person is not None:
            record["person"] = person
        if ref is not None:
            record["ref"] = ref
        self.records.append(record)

    def open_household(self, home: str) -> None:
        """An account with a deal, a task and a file that its people share."""
        self.add(None, "Account", home, Name="A household")
        self.add(None, "Opportunity", f"{home}-deal", Name="Tea", StageName="Won", CloseDate="2026-01-01")
        self.records[-1]["fields"]["AccountId"] = f"@{home}"
        self.add(None, "Task", f"{home}-task", Subject="Call them both", Status="Open")
        self.add(None, "ContentDocument", f"{home}-file", Title="House rules")
        self.add(None, "ContentVersion", None, ContentDocumentId=f"@{home}-file", Title="House rules")
        # Without a link of the household, a file that only erased people have would be erased with them.
        self.add(None, "ContentDocumentLink", None, ContentDocumentId=f"@{home}-file", LinkedEntityId=f"@{home}")

    def add_person(self, person: SamplePerson, home: str) -> None:
        """A contact with a case and a task."""
        me, email = person.ref, person.emails[0]
        fields = {"FirstName": person.given, "LastName": person.family, "Email": email, "AccountId": f"@{home}"}
        self.add(me, "Contact", me, **fields, Customer_Number__c=person.customer_id)
        if person.phones:
            self.records[-1]["fields"]["Phone"] = person.phones[0]
        parents = {"ContactId": f"@{me}", "AccountId": f"@{home}"}
        self.add(me, "Case", f"{me}-case", **parents, Status="New", Subject=f"by {email}")
        self.add(me, "Task", f"{me}-task", WhoId=f"@{me}", Status="Open", Subject=f"Call {email}")

    def add_life(self, person: SamplePerson, home: str) -> None:
        """One record of every kind that hangs on a person."""
        me, email = person.ref, person.emails[0]
        self._at_work(me, email, home)
        self._in_files_and_feeds(me, email, home)
        self._in_sales(me, email, home)
        self._as_an_individual(me, email)
        # The lead that became the contact, under an older address, and a duplicate that lost a merge.
        lead = {"LastName": person.family, "Company": "-", "Status": "New", "Email": person.emails[-1]}
        self.add(me, "Lead", f"{me}-lead", **lead, IsConverted=True, ConvertedContactId=f"@{me}")
        self.add(me, "Contact", f"{me}-merged", LastName=person.family, Email=email, MasterRecordId=f"@{me}")
        self.records[-1]["deleted"] = True

    def _at_work(self, me: str, email: str, home: str) -> None:
        """A case with all that hangs on it, mails, activities."""
        case, mail = f"@{me}-case", f"{me}-mail"
        self.add(me, "CaseComment", None, ParentId=case, CommentBody=f"{email} is waiting")
        self.add(me, "CaseHistory", None, CaseId=case, Field="SuppliedEmail", OldValue=email)
        self.add(me, "CaseContactRole", None, CasesId=case, ContactId=f"@{me}", Role="Buyer")
        self.add(me, "EmailMessage", mail, ParentId=case, Status="3", FromAddress=email, TextBody=f"from {email}")
        self.add(me, "EmailMessageRelation", None, EmailMessageId=f"@{mail}", RelationId=f"@{me}")
        self.add(me, "Attachment", None, ParentId=f"@{mail}", Name=email)
        self.add(me, "EmailMessage", f"{mail}-out", RelatedToId=f"@{home}", Status="3", ToAddress=email)
        self.add(me, "EmailMessageRelation", None, EmailMessageId=f"@{mail}-out", RelationId=f"@{me}")
        self.add(me, "Task", None, WhatId=case, Status="Open", Subject=f"Ask {email}")
        self.add(me, "Task", None, WhoId=f"@{me}", Status="Completed", Subject=f"Called {email}", IsArchived=True)
        self.add(me, "TaskRelation", None, TaskId=f"@{home}-task", RelationId=f"@{me}", IsWhat=False)
        self.add(me, "Event", None, WhoId=f"@{me}", Subject=f"Tea with {email}", StartDateTime="2026-01-01T10:00:00Z")
        self.add(me, "LiveChatTranscript", None, ContactId=f"@{me}", Body=f"{email} joined")
        self.add(me, "WorkOrder", None, ContactId=f"@{me}", CaseId=case, Subject=f"Kettle of {email}")
        # Known only by the address that stands in it.
        self.add(me, "Case", f"{me}-web", Status="New", Origin="Web", SuppliedEmail=email)

    def _in_files_and_feeds(self, me: str, email: str, home: str) -> None:
        """A file of their own, their link to the household's, and what stands under the contact."""
        file = f"{me}-file"
        self.add(me, "ContentDocument", file, Title=email)
        self.add(me, "ContentVersion", None, ContentDocumentId=f"@{file}", Title=email, PathOnClient=email)
        self.add(me, "ContentDocumentLink", None, ContentDocumentId=f"@{file}", LinkedEntityId=f"@{me}")
        self.add(me, "ContentDocumentLink", None, ContentDocumentId=f"@{home}-file", LinkedEntityId=f"@{me}")
        self.add(me, "Attachment", None, ParentId=f"@{me}", Name=email)
        self.add(me, "Note", None, ParentId=f"@{me}", Title=email)
        self.add(me, "FeedItem", f"{me}-post", ParentId=f"@{me}", Body=f"met {email}")
        self.add(me, "FeedComment", None, FeedItemId=f"@{me}-post", ParentId=f"@{me}", CommentBody=email)
        self.add(me, "EntitySubscription", None, ParentId=f"@{me}", SubscriberId="@clerk")
        self.add(me, "TopicAssignment", None, EntityId=f"@{me}")
        self.add(me, "ContactHistory", None, ContactId=f"@{me}", Field="Email", OldValue=email)

    def _in_sales(self, me: str, email: str, home: str) -> None:
        """Campaigns, roles, and the org's own and a package's objects."""
        self.add(me, "CampaignMember", None, CampaignId="@campaign", ContactId=f"@{me}")
        self.add(me, "OpportunityContactRole", None, OpportunityId=f"@{home}-deal", ContactId=f"@{me}")
        self.add(me, "AccountContactRole", None, AccountId=f"@{home}", ContactId=f"@{me}")
        self.add(me, "Asset", None, Name=email, AccountId=f"@{home}", ContactId=f"@{me}")
        self.add(me, "Loyalty_Card__c", f"{me}-card", Name="Card", Contact__c=f"@{me}", Holder_Email__c=email)
        self.add(me, "Loyalty_Entry__c", None, Name="Entry", Card__c=f"@{me}-card", Remark__c=email)
        self.add(me, "acme__Pledge__c", f"{me}-pledge", Name="Pledge", acme__Donor__c=f"@{me}", acme__Remark__c=email)
        self.add(me, "acme__Pledge_Line__c", None, Name="Line", acme__Pledge__c=f"@{me}-pledge")
        self.add(me, "acme__Audit__c", None, Name="Audit", acme__Person__c=f"@{me}", acme__Note__c=email)

    def _as_an_individual(self, me: str, email: str) -> None:
        """The Individual behind the contact, with contact points and consents."""
        individual, point = f"@{me}-individual", f"{me}-point"
        self.add(me, "Individual", f"{me}-individual", LastName=email)
        contact = next(r for r in reversed(self.records) if r.get("ref") == me)
        contact["fields"]["IndividualId"] = individual
        self.add(me, "ContactPointEmail", point, ParentId=individual, EmailAddress=email)
        self.add(me, "ContactPointConsent", None, Name="c", ContactPointId=f"@{point}", PrivacyConsentStatus="OptIn")
        self.add(me, "ContactPointTypeConsent", None, Name="t", PartyId=individual, PrivacyConsentStatus="OptIn")
        self.add(me, "CommSubscriptionConsent", None, Name="s", ConsentGiverId=individual)
        self.add(me, "AuthorizationFormConsent", None, Name=email, ConsentGiverId=f"@{me}")
