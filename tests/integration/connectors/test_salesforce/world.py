"""A small org in which an erasure can go wrong in every known way, and people as ordinary as can be in any number.

`hard_world()` has Ada (everything that makes Salesforce painful), Zoë (a person account), ordinary people, and those
who only look like them. Each person's rows carry their name in every free text as a canary, so `residue` can be
counted; rows without a person are bystanders'. What may stay of Ada: the records named in `kept`, which hold nothing
but her id, once her user is anonymised.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from connectors.testing.sandbox import Sandbox

from .org_client import row

HOUSEHOLD_PHONE = "+15555550100"
ADA_EMAIL = "ada.o'brien@example.test"
ADA_OLD_EMAIL = "ada.before@example.test"
ZOE_EMAIL = "zoë+konto@bücher.example"
ADA_TASKS = 2_100
# Stand in every text and address of an ordinary person: to count the residue of a thousand at once.
ORDINARY_MARKS = frozenset({"canary-p", "person."})
ORDINARY_RELATED = 60
ORDINARY_DELETES = 18

LOOK_ALIKES = (
    "ada.obrien@example.test",
    "ada.o'brien+news@example.test",
    "xada.o'brien@example.test",
    "ada.o'brien@example.test.invalid",
    "ada_o'brien@example.test",
    "zoë@bücher.example",
    "zoe+konto@bücher.example",
)


@dataclass(frozen=True)
class Person:
    """One person: identifiers as an identity graph would give them, roots, and what may stay."""

    ref: str
    emails: tuple[str, ...]
    phones: tuple[str, ...] = ()
    external_ids: tuple[str, ...] = ()
    roots: tuple[tuple[str, str], ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def canary(self) -> str:
        """Stands in every free text of this person."""
        return f"canary-{self.ref}."

    @property
    def values(self) -> set[str]:
        """What nothing may hold after an erasure."""
        return {*self.emails, *self.phones, *self.external_ids, self.canary}


@dataclass
class World:
    """Seed and people. `seed` goes to the stand-in in one go."""

    records: list[dict[str, Any]] = field(default_factory=list)
    people: dict[str, Person] = field(default_factory=dict)

    @property
    def seed(self) -> dict[str, Any]:
        """The stand-in's seed."""
        return {"records": self.records}

    def without_person_accounts(self) -> None:
        """As an org has it that never switched them on."""
        theirs = {r["person"] for r in self.records if r["fields"].get("IsPersonAccount")}
        self.records = [r for r in self.records if r.get("person") not in theirs]
        self.people = {ref: person for ref, person in self.people.items() if ref not in theirs}

    def add(self, person: str | None, kind: str, ref: str | None = None, **fields: Any) -> None:
        """One record; texts get the person's canary by `{c}`."""
        told = {k: v.replace("{c}", f"canary-{person}.") if isinstance(v, str) else v for k, v in fields.items()}
        self.records.append(row(kind, ref, person, **told))


def residue(sandbox: Sandbox, person: Person) -> list[dict[str, Any]]:
    """Stored rows that hold one of the person's values by itself: a look-alike's longer address is nobody's residue."""
    told = "|".join(re.escape(value.casefold()) for value in sorted(person.values))
    pattern = re.compile(rf"(?<![\w.+'-])(?:{told})(?![\w-]|\.\w)")
    return [
        found
        for found in sandbox.residue(person.values)
        if any(pattern.search(value.casefold()) for value in found.values() if isinstance(value, str))
    ]


def hard_world(*, ordinary: int = 1, tasks: int = ADA_TASKS) -> World:
    """The whole org."""
    world = World()
    _bystanders(world)
    _ada(world, tasks)
    _ada_at_work(world)
    _ada_in_files_and_feeds(world)
    _ada_in_sales(world)
    _zoe(world)
    for number in range(ordinary):
        add_ordinary(world, number)
    return world


def ordinary_world(people: int) -> World:
    """Ordinary people and a bystander each: for counting calls."""
    world = World()
    _bystanders(world)
    for number in range(people):
        add_ordinary(world, number)
    return world


def tied_world() -> World:
    """Ada; a mail and an audit entry hang on her contact by a relation alone: no value of hers is in them."""
    world = World()
    world.people["ada"] = Person("ada", ("ada@example.test",), roots=(("Contact", "ada"),))
    world.add(None, "Account", "acme", Name="Acme")
    world.add("ada", "Contact", "ada", LastName="{c}", Email="ada@example.test", AccountId="@acme")
    world.add("ada", "EmailMessage", "mail", RelatedToId="@acme", Status="3", FromAddress="x@example.test")
    world.records[-1]["fields"]["TextBody"] = "canary-ada."
    world.add("ada", "EmailMessageRelation", None, EmailMessageId="@mail", RelationId="@ada")
    world.add("ada", "acme__Audit__c", None, Name="{c}", acme__Person__c="@ada")
    return world


def add_ordinary(world: World, number: int) -> None:
    """A person with 60 related records, of which 17 and the contact itself have to be deleted one by one."""
    me, email, phone = f"p{number}", f"person.{number}@example.test", f"+1555551{number:04d}"
    contact = f"@{me}"
    world.people[me] = Person(me, (email,), (phone,), roots=(("Contact", me), ("Lead", f"{me}-lead")))
    world.add(None, "Account", f"{me}-account", Name=f"Account {number}")
    fields = {"AccountId": f"@{me}-account", "IndividualId": f"@{me}-individual"}
    world.add(me, "Contact", me, LastName="{c}", Email=email, Phone=phone, Description="{c}", **fields)
    world.add(me, "Individual", f"{me}-individual", LastName="{c}")
    world.add(me, "Lead", f"{me}-lead", LastName="{c}", Company="{c}", Status="x", Email=email, IsConverted=True)
    world.records[-1]["fields"]["ConvertedContactId"] = contact
    for n in range(6):
        case = f"{me}-case{n}"
        world.add(me, "Case", case, ContactId=contact, AccountId=f"@{me}-account", Status="New", Description="{c}")
        world.add(me, "CaseComment", None, ParentId=f"@{case}", CommentBody="{c}")
        world.add(me, "CaseComment", None, ParentId=f"@{case}", CommentBody="{c}")
        world.add(
            me, "EmailMessage", f"{case}-mail", ParentId=f"@{case}", Status="3", FromAddress=email, TextBody="{c}"
        )
        world.add(me, "EmailMessageRelation", None, EmailMessageId=f"@{case}-mail", RelationId=contact)
    for n in range(4):
        mail = f"{me}-mail{n}"
        world.add(me, "EmailMessage", mail, RelatedToId=f"@{me}-account", Status="3", FromAddress=email, TextBody="{c}")
        world.add(me, "EmailMessageRelation", None, EmailMessageId=f"@{mail}", RelationId=contact)
    for n in range(2):
        world.add(me, "ContentDocument", f"{me}-file{n}", Title="{c}")
        world.add(me, "ContentVersion", None, ContentDocumentId=f"@{me}-file{n}", Title="{c}", PathOnClient="{c}")
        world.add(me, "ContentDocumentLink", None, ContentDocumentId=f"@{me}-file{n}", LinkedEntityId=contact)
    world.add(me, "acme__Pledge__c", f"{me}-pledge", Name="{c}", acme__Donor__c=contact)
    world.add(me, "acme__Pledge_Line__c", None, Name="{c}", acme__Pledge__c=f"@{me}-pledge")
    world.add(me, "Loyalty_Card__c", f"{me}-card", Name="{c}", Contact__c=contact, Holder_Email__c=email)
    for _ in range(2):
        world.add(me, "Loyalty_Entry__c", None, Name="{c}", Card__c=f"@{me}-card")
        world.add(me, "Event", None, WhoId=contact, Subject="{c}", StartDateTime="2026-01-01T10:00:00Z")
        world.add(me, "CampaignMember", None, CampaignId="@campaign", ContactId=contact, Email=email)
    for _ in range(3):
        world.add(me, "Task", None, WhoId=contact, Subject="{c}", Status="Open")
    world.add(me, "LiveChatTranscript", f"{me}-chat", ContactId=contact, Body="{c}")
    world.add(me, "Attachment", None, ParentId=contact, Name="{c}")


def _bystanders(world: World) -> None:
    world.add(None, "Campaign", "campaign", Name="Spring")
    world.add(None, "Account", "household", Name="O'Brien household", Phone=HOUSEHOLD_PHONE)
    for n, email in enumerate(LOOK_ALIKES):
        phone = f"+1555555010{n}0"
        world.add(None, "Contact", f"like{n}", FirstName="Ada", LastName="O'Brien", Email=email, Phone=phone)
        world.add(None, "Case", None, ContactId=f"@like{n}", Status="New", SuppliedEmail=email)
        world.add(None, "Task", None, WhoId=f"@like{n}", Status="Open", Subject=f"call {email}")
        world.add(None, "Lead", None, LastName="O'Brien", Company="x", Status="New", Email=email)


def _ada(world: World, tasks: int) -> None:
    me = "ada"
    roots = {
        "ada": "Contact",
        "ada-twice": "Contact",
        "ada-merged": "Contact",
        "ada-lead": "Lead",
        "ada-web": "Lead",
        "ada-individual": "Individual",
        "ada-user": "User",
    }
    world.people[me] = Person(
        me,
        (ADA_EMAIL,),
        ("+15555550101",),
        ("CARD-1",),
        tuple((kind, ref) for ref, kind in roots.items()),
        ("ada-order", "ada-contract", "ada-service", "ada-invoice", "ada-outgoing", "ada-user"),
    )
    home = {"AccountId": "@household", "HomePhone": HOUSEHOLD_PHONE}
    world.add(None, "Contact", "bob", FirstName="Bob", LastName="O'Brien", Email="bob@example.test", ReportsToId="@ada")
    world.records[-1]["fields"] |= {**home, "Favourite_Referrer__c": "@ada"}
    person = {"IndividualId": "@ada-individual", "Phone": "+15555550101", "ReportsToId": "@ada-twice"}
    world.add(
        me, "Contact", "ada", FirstName="Ada", LastName="{c}", Email=ADA_EMAIL, Description="{c}", **home, **person
    )
    world.add(me, "Contact", "ada-twice", LastName="{c}", Email=ADA_EMAIL.upper(), ReportsToId="@ada")
    world.add(me, "Contact", "ada-merged", LastName="{c}", Email=ADA_EMAIL, MasterRecordId="@ada")
    world.records[-1]["deleted"] = True
    lead = {"Company": "{c}", "Status": "New", "IndividualId": "@ada-individual"}
    world.add(me, "Lead", "ada-lead", LastName="{c}", Email=ADA_OLD_EMAIL, IsConverted=True, **lead)
    world.records[-1]["fields"]["ConvertedContactId"] = "@ada"
    world.add(me, "Lead", "ada-web", LastName="{c}", Email=ADA_EMAIL, **lead)
    world.add(me, "Individual", "ada-individual", LastName="{c}")
    world.add(me, "ContactPointEmail", "ada-point", ParentId="@ada-individual", EmailAddress=ADA_EMAIL)
    world.add(me, "ContactPointConsent", None, Name="{c}", ContactPointId="@ada-point", PrivacyConsentStatus="OptIn")
    world.add(me, "ContactPointTypeConsent", None, Name="{c}", PartyId="@ada-individual", PrivacyConsentStatus="OptIn")
    world.add(me, "CommSubscriptionConsent", None, Name="{c}", ConsentGiverId="@ada-individual")
    world.add(me, "AuthorizationFormConsent", None, Name="{c}", ConsentGiverId="@ada")
    world.add(me, "User", "ada-user", Username=ADA_EMAIL, Email=ADA_EMAIL, LastName="{c}", Alias="ada", IsActive=True)
    world.records[-1]["fields"] |= {"ContactId": "@ada", "IsPortalEnabled": True, "UserType": "CspLitePortal"}
    for n in range(tasks):
        world.add(me, "Task", None, WhoId="@ada", Subject="{c}", Status="Completed", IsArchived=n % 21 == 0)
    world.add(me, "Event", "ada-event", WhoId="@ada", Subject="{c}", StartDateTime="2026-01-01T10:00:00Z")
    world.add(me, "Event", None, WhoId="@ada", Subject="{c}", StartDateTime="2020-01-01T10:00:00Z", IsArchived=True)
    for task, who in (("shared-first", "@ada"), ("shared-second", "@bob")):
        world.add(None, "Task", task, WhoId=who, Subject="Call them both", Status="Open")
        world.add(me, "TaskRelation", f"{task}-ada", TaskId=f"@{task}", RelationId="@ada", IsWhat=False)
        world.add(None, "TaskRelation", f"{task}-bob", TaskId=f"@{task}", RelationId="@bob", IsWhat=False)
    world.add(None, "Event", "shared-event", WhoId="@bob", Subject="Lunch", StartDateTime="2026-01-01T10:00:00Z")
    world.add(me, "EventRelation", None, EventId="@shared-event", RelationId="@ada", IsWhat=False)
    world.add(None, "EventRelation", None, EventId="@shared-event", RelationId="@bob", IsWhat=False)


def _ada_at_work(world: World) -> None:
    me = "ada"
    for n in range(3):
        case = f"ada-case{n}"
        world.add(me, "Case", case, ContactId="@ada", AccountId="@household", Status="New", Description="{c}")
        world.add(me, "CaseComment", None, ParentId=f"@{case}", CommentBody="{c}")
        world.add(me, "EmailMessage", f"{case}-mail", ParentId=f"@{case}", Status="3", FromAddress=ADA_EMAIL)
        world.add(me, "EmailMessageRelation", None, EmailMessageId=f"@{case}-mail", RelationId="@ada")
        world.add(me, "Attachment", None, ParentId=f"@{case}-mail", Name="{c}")
        world.add(me, "CaseHistory", None, CaseId=f"@{case}", Field="Description", OldValue="{c}")
        world.add(me, "Task", f"{case}-task", WhatId=f"@{case}", Subject="{c}", Status="Open")
    # A circle of cases.
    world.records.append({**row("Case", "ada-case3", me, ContactId="@ada", Status="New", ParentId="@ada-case4")})
    world.records.append({**row("Case", "ada-case4", me, ContactId="@ada", Status="New", ParentId="@ada-case3")})
    # Known only by what stands in it.
    world.add(me, "Case", "ada-supplied", Status="New", SuppliedEmail=ADA_EMAIL, SuppliedName="{c}", Origin="Web")
    world.add(me, "CaseComment", None, ParentId="@ada-supplied", CommentBody="{c}")
    world.add(
        me, "EmailMessage", "ada-loose", RelatedToId="@household", Status="3", FromAddress=ADA_EMAIL, TextBody="{c}"
    )
    world.add(me, "EmailMessageRelation", None, EmailMessageId="@ada-loose", RelationId="@ada")
    world.add(me, "EmailMessage", "ada-by-task", ActivityId="@ada-case0-task", Status="3", ToAddress=ADA_EMAIL)
    world.add(None, "Case", "bob-case", ContactId="@bob", AccountId="@household", Status="New", Subject="Bob's own")
    world.add(me, "CaseContactRole", None, CasesId="@bob-case", ContactId="@ada", Role="Witness")
    world.add(me, "CaseTeamMember", None, ParentId="@bob-case", MemberId="@ada")
    world.add(me, "LiveChatTranscript", "ada-chat", ContactId="@ada", Body="{c}")
    world.add(me, "LiveChatTranscript", "ada-web-chat", LeadId="@ada-web", Body="{c}")
    world.add(me, "WorkOrder", "ada-work", ContactId="@ada", CaseId="@ada-case0", Subject="{c}")
    world.add(me, "ProcessInstance", None, TargetObjectId="@ada", Status="Approved")


def _ada_in_files_and_feeds(world: World) -> None:
    me, owner = "ada", "User"
    world.add(
        None, owner, "clerk", Username="clerk@example.test", Email="clerk@example.test", LastName="Clerk", Alias="c"
    )
    for name, parents in (("sole", ("ada", "clerk")), ("of-case", ("ada-case0",)), ("orphan", ("clerk",))):
        document = f"ada-file-{name}"
        world.add(me, "ContentDocument", document, Title="{c}")
        version = {"Title": "{c}", "PathOnClient": "{c}", "FirstPublishLocationId": "@ada"}
        world.add(me, "ContentVersion", None, ContentDocumentId=f"@{document}", **version)
        for parent in parents:
            world.add(me, "ContentDocumentLink", None, ContentDocumentId=f"@{document}", LinkedEntityId=f"@{parent}")
    world.add(None, "ContentDocument", "shared-file", Title="House rules")
    world.add(None, "ContentVersion", None, ContentDocumentId="@shared-file", Title="House rules")
    world.add(me, "ContentDocumentLink", None, ContentDocumentId="@shared-file", LinkedEntityId="@ada")
    world.add(None, "ContentDocumentLink", None, ContentDocumentId="@shared-file", LinkedEntityId="@bob")
    world.add(me, "Note", None, ParentId="@ada", Title="{c}", Body="{c}")
    world.add(me, "Attachment", None, ParentId="@ada", Name="{c}")
    world.add(me, "FeedItem", "ada-post", ParentId="@ada", Body="{c}")
    world.add(me, "FeedComment", None, FeedItemId="@ada-post", ParentId="@ada", CommentBody="{c}")
    world.add(me, "FeedItem", None, ParentId="@ada-case0", Body="{c}")
    world.add(me, "EntitySubscription", None, ParentId="@ada", SubscriberId="@clerk")
    world.add(me, "TopicAssignment", None, EntityId="@ada")
    world.add(me, "ContactHistory", None, ContactId="@ada", Field="Email", OldValue=ADA_OLD_EMAIL)
    world.add(me, "LeadHistory", None, LeadId="@ada-web", Field="Email", OldValue=ADA_OLD_EMAIL)
    world.add(me, "IndividualHistory", None, IndividualId="@ada-individual", Field="LastName", OldValue="{c}")
    world.add(me, "ContactShare", None, ContactId="@ada", UserOrGroupId="@clerk")
    world.add(None, "DuplicateRecordSet", "duplicates", Name="D-1")
    world.add(me, "DuplicateRecordItem", None, DuplicateRecordSetId="@duplicates", RecordId="@ada")
    world.add(None, "DuplicateRecordItem", None, DuplicateRecordSetId="@duplicates", RecordId="@bob")


def _ada_in_sales(world: World) -> None:
    me, billing = "ada", {"BillToContactId": "@ada", "ShipToContactId": "@ada"}
    world.add(None, "Opportunity", "deal", Name="Deal", StageName="Won", CloseDate="2026-01-01", AccountId="@household")
    world.records[-1]["fields"]["ContactId"] = "@ada"
    world.add(me, "OpportunityContactRole", None, OpportunityId="@deal", ContactId="@ada")
    world.add(me, "AccountContactRole", None, AccountId="@household", ContactId="@ada")
    world.add(me, "AccountContactRelation", None, AccountId="@household", ContactId="@ada")
    world.add(me, "CampaignMember", None, CampaignId="@campaign", ContactId="@ada", Email=ADA_EMAIL)
    world.add(me, "CampaignMember", None, CampaignId="@campaign", LeadId="@ada-web", Email=ADA_EMAIL)
    world.add(None, "CampaignMember", None, CampaignId="@campaign", ContactId="@bob", Email="bob@example.test")
    # The law keeps these; they hold her id and nothing else of hers.
    world.add(me, "Order", "ada-order", AccountId="@household", Status="Draft", EffectiveDate="2026-01-01", **billing)
    world.add(me, "Contract", "ada-contract", AccountId="@household", Status="Draft", CustomerSignedId="@ada")
    world.add(me, "ServiceContract", "ada-service", Name="Service", AccountId="@household", ContactId="@ada")
    world.add(me, "Invoice", "ada-invoice", BillingAccountId="@household", BillToContactId="@ada")
    world.add(me, "OutgoingEmail", "ada-outgoing", WhoId="@ada")
    world.add(me, "Asset", "ada-asset", Name="{c}", AccountId="@household", ContactId="@ada")
    world.add(me, "Loyalty_Card__c", "ada-card", Name="{c}", Contact__c="@ada", Card_Number__c="CARD-1")
    world.records[-1]["fields"]["Holder_Email__c"] = ADA_EMAIL
    world.add(me, "Loyalty_Entry__c", None, Name="{c}", Card__c="@ada-card")
    world.add(me, "acme__Pledge__c", "ada-pledge", Name="{c}", acme__Donor__c="@ada")
    world.add(me, "acme__Pledge_Line__c", None, Name="{c}", acme__Pledge__c="@ada-pledge")
    world.add(me, "acme__Audit__c", "ada-audit", Name="{c}", acme__Person__c="@ada", acme__Note__c="{c}")


def _zoe(world: World) -> None:
    me = "zoe"
    world.people[me] = Person(me, (ZOE_EMAIL,), ("+15555550199",), roots=(("Account", "zoe"),))
    fields = {"IsPersonAccount": True, "PersonEmail": ZOE_EMAIL, "PersonMobilePhone": "+15555550199"}
    world.add(me, "Account", "zoe", FirstName="Zoë", LastName="{c}", Description="{c}", **fields)
    world.add(me, "Case", "zoe-case", AccountId="@zoe", ContactId="@zoe:contact", Status="New", Description="{c}")
    world.add(me, "CaseComment", None, ParentId="@zoe-case", CommentBody="{c}")
    world.add(me, "Task", None, WhoId="@zoe:contact", Subject="{c}", Status="Open")
    world.add(me, "ContactPointEmail", None, ParentId="@zoe", EmailAddress=ZOE_EMAIL)
    world.add(me, "Opportunity", None, Name="{c}", StageName="x", CloseDate="2026-01-01", AccountId="@zoe")
    world.add(me, "AuthorizationFormConsent", "zoe-consent", Name="{c}", ConsentGiverId="@zoe")
