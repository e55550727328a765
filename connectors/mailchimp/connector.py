"""Mailchimp Marketing API 3.0: members of all audiences, erased with `delete-permanent`.

Archiving is not erasure and isn't used. The README has the sources of every fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import Field, SecretStr

from connectors.base.config import SystemConfig, SystemModel
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused
from connectors.base.interface import Declaration, Delays, ErasesBy, Operation
from connectors.base.kit.calls import VALUE, Call, Listing, Offsets, is_same
from connectors.base.kit.look import Look, Root, Row, Rows
from connectors.base.kit.people import UNREACHABLE
from connectors.base.kit.record_operations import RecordOperation
from connectors.base.kit.suppression import SuppressingConnector
from connectors.base.toolkit.http import VendorClient, field_of
from connectors.base.values import Answer, ChangePage, Identifier, Record, Subject, Visibility
from connectors.mailchimp.changes import ChangeReader
from connectors.mailchimp.jobs import MailchimpOperations
from connectors.mailchimp.members import OBJECT, RECORD_ID, path_of, record_of, refine, subscriber_hashes

EMAIL, CONTACT_ID = "email", "mailchimp_contact_id"
_VERSION = "3.0"
_PAGES = Offsets("offset", "total_items")
_AUDIENCE_FIELDS = {"count": "1000", "fields": "lists.id,lists.stats.member_count,total_items"}
_AUDIENCES = Listing(Call("GET", "/lists", params=_AUDIENCE_FIELDS), "lists", _PAGES)
_MERGE_FIELDS = {"count": "1000", "fields": "merge_fields.tag,merge_fields.type,total_items"}
_TAGS = Listing(Call("GET", ("/lists", VALUE, "merge-fields"), params=_MERGE_FIELDS), "merge_fields", _PAGES)
_ONE_MEMBER = Call("GET", ("/lists", VALUE, "members"), params={"count": "1", "fields": "list_id,total_items"})
_FOUND = ("total_items", "members.id", "members.list_id", "members.email_address")
_SEARCH_FIELDS = ",".join(f"{part}.{name}" for part in ("exact_matches", "full_search") for name in _FOUND)
_SEARCH = Call("GET", "/search-members", params={"query": VALUE, "fields": _SEARCH_FIELDS})
# The next call would only wait for the same answer, or make a throttle worse.
_ENDING = UNREACHABLE | {"rate_limited", "throttled"}


class MailchimpCredentials(SystemModel):
    """`api_key`: an account's API key, `<key>-<data centre>`."""

    api_key: SecretStr


class MailchimpPolicy(SystemModel):
    """`batch_threshold`: up to so many operations are made directly, more go through a job.

    `control_email`: a member kept on purpose, which every pass must be able to see. Without it the audiences and the
    number of their members are the proof of visibility.
    """

    batch_threshold: int = Field(default=20, ge=0)
    control_email: str | None = Field(default=None, repr=False)


class MailchimpConnector(MailchimpOperations, SuppressingConnector):
    """One Mailchimp account."""

    declaration = Declaration(
        name="mailchimp",
        identifier_kinds=frozenset({EMAIL, CONTACT_ID}),
        operations=frozenset(Operation),
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call={**dict.fromkeys(Operation, 50), Operation.ERASE: 200},
        # Ten simultaneous connections for all of the account's integrations: we take less than half.
        max_concurrency=2,
        max_concurrent_people=2,
        delays=Delays(confirm_after=timedelta(seconds=60), poll_every=timedelta(seconds=15)),
        # delete-permanent takes effect at once and blocks re-import itself; unsubscribing first would only add a trace.
        suppress_first=False,
        reports_changes=True,
        suppression_scopes=frozenset({"do_not_contact:email"}),
        not_covered=("ecommerce_customers", "transactional_email", "other_audience_text_fields"),
    )
    Credentials = MailchimpCredentials
    Policy = MailchimpPolicy
    root = Root(OBJECT, carries={EMAIL: "email_address", CONTACT_ID: "contact_id", "phone": "sms_phone_number"})

    def __init__(self, system: SystemConfig) -> None:
        assert isinstance(system.policy, MailchimpPolicy)
        self._policy = system.policy
        self.most_direct_operations = system.policy.batch_threshold
        self.api_root = f"{system.base_url.rstrip('/').removesuffix(f'/{_VERSION}')}/{_VERSION}"
        self._audiences: Mapping[str, int] = {}
        self._phone_tags: dict[str, frozenset[str]] = {}
        super().__init__(system)

    def client(self, system: SystemConfig) -> VendorClient:
        """Return a client with the account's key; Mailchimp takes any user name."""
        assert isinstance(system.credentials, MailchimpCredentials)
        auth = ("expunge", system.credentials.api_key.get_secret_value())
        return VendorClient.for_system(system, base_url=self.api_root, auth=auth, refine=refine)

    def control(self) -> Identifier:
        """Return the address of the control member."""
        return Identifier(EMAIL, self._policy.control_email or "")

    def begin_pass(self) -> None:
        """List the audiences. Raises CredentialsRefused(`no_visibility`) if there are none."""
        rows = _AUDIENCES.all(self.http)
        counts = {field_of(r, "id", str): field_of(field_of(r, "stats", dict), "member_count", int) for r in rows}
        if not counts:
            raise CredentialsRefused("no_visibility")
        self._audiences = counts

    def check_credentials(self) -> Visibility:
        """See an audience, members in the fullest one if it counts any, and the control member.

        Raises CredentialsRefused(`no_visibility`) without audiences, or if members are counted but not shown.
        """
        self.begin_pass()
        fullest = max(self._audiences, key=lambda audience: self._audiences[audience])
        shown = _ONE_MEMBER.send(self.http, fullest)
        if shown.field("list_id", str) != fullest:
            raise AnswerNotUnderstood("member_of_other_audience")
        hidden = shown.field("total_items", int) == 0 and self._audiences[fullest] > 0
        looks = (RecordOperation("", False, place) for place in self.places(Subject("", (self.control(),))))
        control = not self._policy.control_email or any(isinstance(self.perform(look), Mapping) for look in looks)
        if hidden or not control:
            raise CredentialsRefused("no_visibility")
        return Visibility("control_record", f"{len(self._audiences)} audiences")

    def places(self, subject: Subject) -> list[Record]:
        """Return every audience with every hash of an address and every contact id.

        Raises AnswerNotUnderstood(`audience_not_visible`) for a planned record whose audience isn't listed, because
        its 404 would prove nothing.
        """
        for record in self.planned(subject):
            match = RECORD_ID.fullmatch(record.id)
            if match is None:
                raise AnswerNotUnderstood("record_id_form")
            if match[1] not in self._audiences:
                raise AnswerNotUnderstood("audience_not_visible")
        keys = [key for email in subject.values(EMAIL) if email for key in subscriber_hashes(email)]
        keys += [value for value in subject.values(CONTACT_ID) if value]
        return [self.record(f"{audience}/{key}") for audience in self._audiences for key in keys]

    def rows_of(self, subject: Subject, found: Mapping[Record, Row]) -> Rows:
        """Return the members that are the person's: by address, by contact id, or by the plan.

        A look by hash may show another spelling's owner, which is another person and no news. Raises
        AnswerNotUnderstood(`member_mismatch`) for a member that wasn't asked for.
        """
        rows: Rows = {}
        for asked, row in found.items():
            record = record_of(row, asked)
            contact = row.get("contact_id")
            by_contact = bool(contact) and contact in subject.values(CONTACT_ID)
            by_address = self.is_own(subject, Identifier(EMAIL, row["email_address"]))
            if by_contact or by_address or record in self.planned(subject):
                rows[record] = row
            elif record != asked:
                raise AnswerNotUnderstood("member_mismatch")
        return rows

    def carried(self, record: Record, row: Row) -> tuple[Identifier, ...]:
        """Return the identifiers of a member, with its merge fields of type `phone`."""
        audience, merge_fields = record.id.partition("/")[0], row.get("merge_fields")
        if audience not in self._phone_tags:
            tags = _TAGS.all(self.http, audience)
            self._phone_tags[audience] = frozenset(field_of(t, "tag", str) for t in tags if t.get("type") == "phone")
        values = merge_fields if isinstance(merge_fields, dict) else {}
        phones = [values.get(tag) for tag in sorted(self._phone_tags[audience])]
        more = (Identifier("phone", p.strip()) for p in phones if isinstance(p, str) and p.strip())
        return (*super().carried(record, row), *more)

    def concerns_all(self, error: ConnectorError) -> bool:
        """True for a refused key, a throttle, and a vendor that can't be reached."""
        return isinstance(error, CredentialsRefused) or error.code in _ENDING

    def conclude_absence(self, subject: Subject, look: Look) -> Answer:
        """Search once per address as well: two ways that must both find nothing."""
        searched = dict.fromkeys(record for email in subject.values(EMAIL) if email for record in self._search(email))
        return Answer.partial(self.left(searched, "still_found_by_search")) if searched else Answer.already_absent()

    def _search(self, email: str) -> list[Record]:
        """Return all members, in any audience, with exactly this address.

        The search is loose and has no pages: more exact matches than it shows prove nothing.
        """
        reply = _SEARCH.send(self.http, email)
        found: list[Record] = []
        for part in ("exact_matches", "full_search"):
            matches = reply.field(part, dict)
            members = field_of(matches, "members", list)
            for row in members:
                if is_same(field_of(row, "email_address", str), email, ignores_case=True):
                    found.append(self.record(f"{field_of(row, 'list_id', str)}/{field_of(row, 'id', str)}"))
            if part == "exact_matches" and not found and field_of(matches, "total_items", int) > len(members):
                raise AnswerNotUnderstood("search_truncated")
        return found

    def changed_since(self, cursor: str | None, begin_at: datetime) -> ChangePage:
        """Return members by `last_changed`, one audience at a time; two to four calls a page."""
        self.begin_pass()
        return ChangeReader(self.http, self._audiences, self.carried, OBJECT).page(cursor, begin_at)

    def needs_suppression(self, row: Row, scope: str) -> bool:
        """True for a member that gets marketing e-mail. A new status would bring an archived member back."""
        return field_of(row, "status", str) in ("subscribed", "pending")

    def suppress_record(self, record: Record, scopes: frozenset[str]) -> None:
        """Unsubscribe an existing member by PATCH; PUT would create one."""
        status = {"status": "unsubscribed"}
        Call("PATCH", path_of(record), json=status, says=("status", "unsubscribed")).send(self.http, "")
