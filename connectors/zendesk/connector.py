"""Zendesk Support.

End-users, the tickets that they requested, and their suspended tickets, erased for good.

The README says what isn't covered, and which of the vendor's facts are unconfirmed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

from pydantic import SecretStr, model_validator

from connectors.base.config import IdentifierKind, SystemConfig, SystemModel
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, RequestRefused
from connectors.base.interface import Declaration, Delays, ErasesBy, Operation, RateLimit
from connectors.base.kit.calls import value_at
from connectors.base.kit.look import Look, Looks, Root, Row, Rows
from connectors.base.toolkit.concurrently import concurrently
from connectors.base.toolkit.http import VendorClient
from connectors.base.values import Answer, ChangePage, Identifier, Located, Record, Subject, Visibility
from connectors.zendesk.account import ZendeskAccount, refine
from connectors.zendesk.changes import read_changes
from connectors.zendesk.erasure import SUSPENDED, TICKET, USER, ZendeskErasure

# Two searches a person: 50 people are half of what the smallest plans allow in a minute (200 calls).
_PEOPLE_PER_PASS = dict.fromkeys((Operation.LOCATE, Operation.ERASE, Operation.CONFIRM), 50)
EMAIL, PHONE, USER_ID, _EXTERNAL_ID = "email", "phone", "zendesk_user_id", "customer_id"
_PHONE_PUNCTUATION = str.maketrans("", "", " -().\u00a0")
# The actions of the specification's example; another one is not understood and never counts as done.
_REQUESTED, _STARTED, _COMPLETE = "request_deletion", "started", "complete"


class ZendeskCredentials(SystemModel):
    """Either an admin's `email` with an `api_token`, or an OAuth `oauth_token` of an admin."""

    email: str | None = None
    api_token: SecretStr | None = None
    oauth_token: SecretStr | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        basic = (self.email is not None) + (self.api_token is not None)
        if (basic, self.oauth_token is not None) not in ((2, False), (0, True)):
            raise ValueError("give email and api_token, or oauth_token")
        return self


class ZendeskPolicy(SystemModel):
    """`tickets`: delete them, or retain them and the user with them.

    `external_id_kind`: our kind of the external id. `scan_deleted_users`: also search the list of deleted users, one
    call per 100 of them in every pass.
    """

    tickets: Literal["delete", "retain"] = "delete"
    external_id_kind: IdentifierKind = _EXTERNAL_ID
    scan_deleted_users: bool = True


class ZendeskConnector(ZendeskErasure):
    """One Zendesk account."""

    declaration = Declaration(
        name="zendesk",
        identifier_kinds=frozenset({EMAIL, PHONE, _EXTERNAL_ID, USER_ID}),
        operations=frozenset(_PEOPLE_PER_PASS),
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call=_PEOPLE_PER_PASS,
        required_scopes=("role:admin",),
        rate_limits=(
            RateLimit(calls=200, per=timedelta(minutes=1)),
            RateLimit(calls=700, per=timedelta(minutes=10), per_subject=True),
        ),
        max_concurrency=2,
        max_concurrent_people=3,
        reports_changes=True,
        delays=Delays(timedelta(minutes=5), poll_every=timedelta(seconds=5), purge_after=timedelta(minutes=15)),
        not_covered=(
            *("comments_on_others_tickets", "cc_and_follower_on_others_tickets", "tickets_soft_deleted_before_locate"),
            *("help_center_content", "chat_talk_sell_explore", "user_fields_of_other_users"),
        ),
    )
    Credentials = ZendeskCredentials
    Policy = ZendeskPolicy
    root = Root(USER)

    @classmethod
    def kinds_of(cls, system: SystemConfig) -> frozenset[str]:
        """Return e-mail, phone, Zendesk's user id, and the kind that this system keeps in `external_id`."""
        assert isinstance(system.policy, ZendeskPolicy)
        return frozenset({EMAIL, PHONE, system.policy.external_id_kind, USER_ID})

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        assert isinstance(system.policy, ZendeskPolicy)
        self._policy = system.policy
        self.retains_tickets = system.policy.tickets == "retain"
        # The engine asks the instance which kinds it understands, and one of them is the system's own choice.
        self.declaration = replace(  # type: ignore[misc]  # an instance's own value of a class variable, on purpose
            type(self).declaration, identifier_kinds=self.kinds_of(system)
        )
        external_id = system.policy.external_id_kind
        paths = {EMAIL: "emails.*", PHONE: "phones.*", external_id: "external_id", USER_ID: "id"}
        self.root = Root(USER, carries=paths)  # type: ignore[misc]  # likewise
        self.account = ZendeskAccount(self.http)
        self._requested: dict[str, set[str]] = {}

    def client(self, system: SystemConfig) -> VendorClient:
        """Return a client with Basic `email/token`, or with the bearer token.

        Source: developer.zendesk.com, security and authentication.
        """
        credentials = system.credentials
        assert isinstance(credentials, ZendeskCredentials)
        if credentials.oauth_token is not None:
            headers = {"authorization": f"Bearer {credentials.oauth_token.get_secret_value()}"}
            return VendorClient.for_system(system, headers=headers, refine=refine)
        assert credentials.api_token is not None
        auth = (f"{credentials.email}/token", credentials.api_token.get_secret_value())
        return VendorClient.for_system(system, auth=auth, refine=refine)

    def control(self) -> Identifier:
        """Return the id of the credential's own user."""
        return Identifier(USER_ID, self.account.me()["id"])

    def check_credentials(self) -> Visibility:
        """Require an unrestricted admin that finds itself by the searches that absence is concluded from.

        Raises CredentialsRefused: `missing_scope` for anyone but an admin, `no_control_record`, `no_visibility`.
        """
        me = self.account.me(fresh=True)
        if me.get("role") != "admin":
            raise CredentialsRefused("missing_scope")
        email = me.get("email")
        if not isinstance(email, str) or not email:
            raise CredentialsRefused("no_control_record")
        if me["id"] not in self.account.search_users(email) or not self.account.is_searchable(email, me["id"]):
            raise CredentialsRefused("no_visibility")
        return Visibility("control_record", "an admin that finds itself")

    # Looking: users by any identity, and suspended tickets, for many people in one call

    def begin_pass(self) -> None:
        """Forget what the pass before found."""
        self._requested = {}

    def planned(self, subject: Subject) -> frozenset[Record]:
        """Return planned users and suspended tickets; tickets hang on their users."""
        return frozenset(Record(name, i) for name in (USER, SUSPENDED) for i in subject.record_ids(name))

    def carried(self, record: Record, row: Row) -> tuple[Identifier, ...]:
        """Return every identifier of a user."""
        return super().carried(record, row) if record.object == USER else ()

    def comparable(self, identifier: Identifier) -> str:
        """Compare phone numbers as E.164 numbers, all else without regard to case, as the vendor does."""
        value = super().comparable(identifier).strip()
        return value.translate(_PHONE_PUNCTUATION) if identifier.kind == PHONE else value

    def changed_since(self, cursor: str | None, begin_at: datetime) -> ChangePage:
        """Return changed users by Zendesk's export; one call a page, and one more for each 99 users."""
        return read_changes(self.http, self.account, self.carried, USER, cursor, begin_at)

    def look_at(self, people: Sequence[Subject]) -> Looks:
        """Look for users and suspended tickets by every identifier and planned id."""
        external_ids = dict.fromkeys(v for s in people for v in s.values(self._policy.external_id_kind))
        by_external_id = self.account.users_by_external_ids(external_ids)
        asked = self.each_person(people, lambda subject: self._candidates(subject, by_external_id))
        candidates = {ref: ids for ref, ids in asked.items() if not isinstance(ids, ConnectorError)}
        users = self.account.show_users({i for ids in candidates.values() for i in ids})
        deleted = self.account.deleted_users() if self._policy.scan_deleted_users else []
        suspended = self.account.suspended_tickets()
        looks: Looks = {ref: error for ref, error in asked.items() if isinstance(error, ConnectorError)}
        for subject in people:
            if subject.ref in candidates:
                found = [users[i] for i in candidates[subject.ref] if i in users]
                looks[subject.ref] = self._looked(subject, found, deleted, suspended)
        seen = [(record, row) for look in looks.values() if isinstance(look, Look) for record, row in look.rows.items()]
        planned = {i for subject in people for i in subject.record_ids(USER)}
        # For all people together, because no more than `max_concurrent_people` calls may be under way.
        self.requested(planned | _with_tickets(seen))
        return looks

    def _candidates(self, subject: Subject, by_external_id: Mapping[str, list[str]]) -> set[str]:
        """Return ids of users that may be the person's.

        Raises RequestRefused for a value that can't be asked for.
        """
        ids = {i for v in subject.values(self._policy.external_id_kind) for i in by_external_id.get(v.lower(), ())}
        for kind in (EMAIL, PHONE):
            for value in subject.values(kind):
                if '"' in value or "\\" in value:
                    raise RequestRefused("identifier_not_searchable")  # it would end the quoted search text
                asked = self.comparable(Identifier(kind, value)) if kind == PHONE else value
                ids |= set(self.account.search_users(asked))
        if not all(map(_is_number, subject.values(USER_ID))):
            raise RequestRefused("zendesk_user_id_not_a_number")
        if not all(_is_number(record.id) for record in subject.records):
            raise RequestRefused("record_id_not_a_number")
        return {*ids, *subject.values(USER_ID), *subject.record_ids(USER)}

    def _looked(
        self, subject: Subject, found: Sequence[Row], deleted: Sequence[Row], suspended: Mapping[str, Row]
    ) -> Look:
        planned, kinds = set(subject.record_ids(USER)), {*self.root.carries} - {USER_ID}
        active = [user for user in found if user["active"]]
        users = {u["id"]: u for u in active if u["id"] in planned or self._is_match(subject, u, {*kinds, USER_ID})}
        # The list keeps permanently deleted users, without any value: an id in it proves nothing.
        users |= {user["id"]: user for user in deleted if self._is_match(subject, user, kinds)}
        for user_id in sorted({*planned, *subject.values(USER_ID)} - set(users)):
            if gone := self.account.soft_deleted_user(user_id):
                users[user_id] = gone
        rows: Rows = {Record(USER, i): user for i, user in users.items()}
        attached: set[Record] = set()
        for i, ticket in suspended.items():
            author, email = str(value_at(ticket, "author.id")), value_at(ticket, "author.email")
            by_email = isinstance(email, str) and self.is_own(subject, Identifier(EMAIL, email))
            if by_email or author in {*users, *planned} or i in subject.record_ids(SUSPENDED):
                rows[Record(SUSPENDED, i)] = ticket
            if author in planned:
                attached.add(Record(SUSPENDED, i))
        shared = any(user.get("shared_phone_number") for user in active if user["id"] not in users)
        notes = ("shared_phone_number",) if shared else ()
        return Look(rows, self.planned(subject), notes, frozenset(attached))

    def _is_match(self, subject: Subject, user: Row, kinds: Collection[str]) -> bool:
        identifiers = self.carried(Record(USER, user["id"]), user)
        return any(self.is_own(subject, identifier) for identifier in identifiers if identifier.kind in kinds)

    def protected(self, record: Record, row: Row) -> str | None:
        """Keep agents and admins."""
        return "staff_account" if row.get("is_staff") else None

    def located(self, subject: Subject, rows: Rows) -> Located:
        """Return users and suspended tickets, with the tickets of users that aren't staff."""
        tickets = self.requested(_with_tickets(rows.items()))
        found, staff = super().located(subject, rows), any(row.get("is_staff") for row in rows.values())
        return replace(
            found,
            records=(*found.records, *(Record(TICKET, i) for i in sorted(tickets, key=int))),
            counts={**found.counts, TICKET: len(tickets)} if tickets else found.counts,
            not_covered=("staff_account",) if staff else (),
        )

    def requested(self, user_ids: Collection[str]) -> set[str]:
        """Return tickets that the index knows by these requesters; each user is asked for once in a pass."""
        missing = sorted(set(user_ids) - set(self._requested))
        for i, found in concurrently(
            missing, self.account.requested_tickets, at_most=self.max_concurrent_people
        ).items():
            if isinstance(found, ConnectorError):
                raise found
            self._requested[i] = found
        return {ticket for i in user_ids for ticket in self._requested[i]}

    # Absence: users in the search, by id, among the deleted; tickets by requester, by id, in the bin; the vendor's word

    def look_further(self, people: Sequence[Subject], looks: Mapping[str, Look]) -> None:
        """Ask for the tickets of all people.

        Of their users in the index, the rest from the database and the bin.
        """
        self.requested({i for subject in people for i in self._users(subject, looks[subject.ref])})
        planned = {i for subject in people for i in subject.record_ids(TICKET)}
        self._requesters = self.account.requesters(planned.union(*self._requested.values()))
        self._binned, self._saw_whole_bin = self.account.binned_tickets(None) if planned else (set[str](), True)

    def confirmed(self, subject: Subject, look: Look) -> Answer:
        """Return what is left; ACCEPTED while the index is late or the vendor says that it is still deleting."""
        users, planned = self._users(subject, look), set(subject.record_ids(TICKET))
        indexed = self.requested(users)
        live = {Record(TICKET, i) for i in planned | indexed if self._requesters.get(i) in users}
        rows = {record: look.rows[record] for record in look.known}
        staff = [record for record, row in rows.items() if row.get("is_staff") and row["active"]]
        gone = [record for record, row in rows.items() if row.get("active") is False]
        left = self.left(staff, "staff_account") + self.left(gone, "soft_deleted")
        left += self.left({*rows, *live} - {*staff, *gone}, "still_there")
        left += self.left((Record(TICKET, i) for i in self._binned & planned), "soft_deleted")
        if look.new:
            return Answer.partial(left, found=self.located(subject, look.new))
        if left and self.retains_tickets and live and all(entry.object != SUSPENDED for entry in left):
            return Answer.retained("tickets_retained", left=left)
        if left:
            return Answer.partial(left)
        if indexed:
            # Shown by the search, unknown to the database: the index is late, so nothing is proven yet.
            return Answer.accepted(datetime.now(UTC) + self.delay("confirm_after"))
        if any(self._is_pending(user_id) for user_id in subject.record_ids(USER)):
            return Answer.accepted(datetime.now(UTC) + max(self.delay("purge_after"), timedelta(seconds=1)))
        return Answer.already_absent(not_covered=() if self._saw_whole_bin else ("older_deleted_tickets",))

    def _users(self, subject: Subject, look: Look) -> set[str]:
        return {record.id for record in (*look.rows, *look.planned) if record.object == USER}

    def _is_pending(self, user_id: str) -> bool:
        """True while an application has started, or not yet taken up, the deletion that was requested."""
        actions = self.account.compliance_actions(user_id)
        if any(action not in (_REQUESTED, _STARTED, _COMPLETE) for _, action in actions):
            raise AnswerNotUnderstood("compliance_action")
        complete = {application for application, action in actions if action == _COMPLETE}
        started = {application for application, action in actions if action == _STARTED}
        return bool(actions) and (not complete or bool(started - complete))


def _with_tickets(rows: Iterable[tuple[Record, Row]]) -> set[str]:
    """Return the users whose tickets are the person's: staff's are not."""
    users = ((record.id, row) for record, row in rows if record.object == USER)
    return {user_id for user_id, row in users if not (row["is_staff"] and row["active"])}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
