"""One read-only look at an account for many people: whose users, suspended tickets and requested tickets are there.

Decides what counts as found (exact matches and frozen ids only); does not decide what happens to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from connectors.base.errors import ConnectorError, RequestRefused
from connectors.base.toolkit.concurrently import concurrently, for_each_person
from connectors.base.values import Identifier, Located, Record, Subject
from connectors.zendesk.api import ZendeskApi
from connectors.zendesk.matching import EMAIL, PHONE, USER_ID, carried, has_email, has_value_of, is_match, normalised
from connectors.zendesk.objects import SuspendedTicket, Ticket, User

USER = "user"
TICKET = "ticket"
SUSPENDED_TICKET = "suspended_ticket"


@dataclass
class Snapshot:
    """What one look saw of one person. `soft_deleted` users are hidden but not erased for good."""

    live: dict[str, User] = field(default_factory=dict, repr=False)
    soft_deleted: dict[str, User] = field(default_factory=dict, repr=False)
    suspended: dict[str, SuspendedTicket] = field(default_factory=dict, repr=False)
    tickets: dict[str, Ticket] = field(default_factory=dict, repr=False)
    shared_phone: bool = False

    def without(self, user_ids: set[str], suspended_ids: set[str]) -> Snapshot:
        """The same snapshot less what is planned already."""
        return Snapshot(
            live={i: user for i, user in self.live.items() if i not in user_ids},
            soft_deleted={i: user for i, user in self.soft_deleted.items() if i not in user_ids},
            suspended={i: ticket for i, ticket in self.suspended.items() if i not in suspended_ids},
            shared_phone=self.shared_phone,
        )

    @property
    def users(self) -> set[str]:
        """Ids of all users, live or soft-deleted."""
        return {*self.live, *self.soft_deleted}

    @property
    def has_staff(self) -> bool:
        """True if an agent or admin is among them."""
        return any(user.is_staff for user in (*self.live.values(), *self.soft_deleted.values()))


class AccountReader:
    """Looks on behalf of one connector; `external_id_kind` is our kind of Zendesk's external id."""

    def __init__(self, api: ZendeskApi, external_id_kind: str, *, scan_deleted_users: bool, at_most: int = 1) -> None:
        """`at_most`: people who are asked for together."""
        self._api = api
        self._at_most = at_most
        self._external_id_kind = external_id_kind
        self._scan_deleted_users = scan_deleted_users

    def for_people(
        self, subjects: Sequence[Subject], begun: Mapping[str, set[str]] | None = None
    ) -> dict[str, Snapshot | ConnectorError]:
        """Users and suspended tickets by every identifier and frozen id; `begun` adds user ids per person.

        A person whose identifiers can't be asked for has an error of their own; everything else raises.
        """
        begun = begun or {}
        candidates: dict[str, list[str]] = {}
        found: dict[str, Snapshot | ConnectorError] = {}
        by_external_id = self._external_ids(subjects)
        asked = for_each_person(subjects, lambda s: self._candidates(s, by_external_id), at_most=self._at_most)
        for subject in subjects:
            ids = asked[subject.ref]
            if isinstance(ids, RequestRefused):
                found[subject.ref] = ids
            elif isinstance(ids, ConnectorError):
                raise ids
            else:
                candidates[subject.ref] = [*subject.record_ids(USER), *begun.get(subject.ref, ()), *ids]
        users = self._api.show_users([i for ids in candidates.values() for i in ids])
        deleted = self._soft_deleted()
        suspended = self._api.suspended_tickets()
        for subject in subjects:
            if subject.ref in candidates:
                known_ids = {*subject.record_ids(USER), *begun.get(subject.ref, ())}
                ids = candidates[subject.ref]
                snapshot = self._snapshot(subject, known_ids, {i: users[i] for i in ids if i in users}, deleted)
                snapshot.suspended = self._suspended_of(subject, snapshot, known_ids, suspended)
                found[subject.ref] = snapshot
        return found

    def add_tickets(self, people: Sequence[tuple[Snapshot, Iterable[str]]]) -> None:
        """Tickets that each one's users requested, as the search index knows them."""
        ids = dict.fromkeys(i for _, user_ids in people for i in sorted(user_ids, key=int))
        tickets = concurrently(list(ids), lambda i: list(self._api.requested_tickets(i)), at_most=self._at_most)
        for snapshot, user_ids in people:
            for user_id in user_ids:
                found = tickets[user_id]
                if isinstance(found, ConnectorError):
                    raise found
                snapshot.tickets |= {ticket.id: ticket for ticket in found}

    def located(self, subject: Subject, snapshot: Snapshot) -> Located:
        """Return the snapshot as the engine's values; records and identifiers in a stable order."""
        users = [*snapshot.live.values(), *snapshot.soft_deleted.values()]
        records = [Record(USER, i) for i in sorted(snapshot.users, key=int)]
        records += [Record(SUSPENDED_TICKET, i) for i in sorted(snapshot.suspended, key=int)]
        records += [Record(TICKET, i) for i in sorted(snapshot.tickets, key=int)]
        counts = {USER: len(snapshot.users), TICKET: len(snapshot.tickets), SUSPENDED_TICKET: len(snapshot.suspended)}
        return Located(
            records=tuple(records),
            counts={name: count for name, count in counts.items() if count},
            identifiers=carried(subject, users, self._external_id_kind),
            not_covered=("shared_phone_number",) if snapshot.shared_phone else (),
        )

    def _external_ids(self, subjects: Sequence[Subject]) -> dict[str, list[str]]:
        """User ids per external id of anybody in the batch, in lower case. A comma needs a call of its own."""
        values = dict.fromkeys(v for subject in subjects for v in subject.values(self._external_id_kind))
        plain = [value for value in values if "," not in value]
        found = self._api.users_by_external_ids(plain) if plain else {}
        for value in values:
            if "," in value:
                found[value.lower()] = self._api.search_external_id(value)
        return found

    def _candidates(self, subject: Subject, by_external_id: Mapping[str, list[str]]) -> list[str]:
        ids: list[str] = []
        for kind in (EMAIL, PHONE):
            for value in subject.values(kind):
                value = normalised(Identifier(kind, value))[1] if kind == PHONE else value
                if '"' in value or "\\" in value:
                    raise RequestRefused("identifier_not_searchable")  # it would end the quoted search text
                ids += self._api.search_users(value)
        for value in subject.values(self._external_id_kind):
            ids += by_external_id.get(value.lower(), ())
        for value in subject.values(USER_ID):
            if not (value.isascii() and value.isdigit()):
                raise RequestRefused("zendesk_user_id_not_a_number")
            ids.append(value)
        if not all(record.id.isascii() and record.id.isdigit() for record in subject.records):
            raise RequestRefused("record_id_not_a_number")
        return list(dict.fromkeys(ids))

    def _soft_deleted(self) -> list[User]:
        return list(self._api.deleted_users()) if self._scan_deleted_users else []

    def _snapshot(
        self, subject: Subject, known: set[str], users: Mapping[str, User], deleted: Sequence[User]
    ) -> Snapshot:
        snapshot = Snapshot()
        for user in users.values():
            if user.active and (user.id in known or is_match(subject, user, self._external_id_kind)):
                snapshot.live[user.id] = user
            elif user.active and user.has_shared_phone:
                snapshot.shared_phone = True
        for user in deleted:
            # The list keeps permanently deleted users, without any value: an id in it proves nothing.
            if has_value_of(subject, user, self._external_id_kind):
                snapshot.soft_deleted[user.id] = user
        asked = {*known, *subject.values(USER_ID)} - set(snapshot.live) - set(snapshot.soft_deleted)
        for user_id in sorted(asked, key=int):
            if gone := self._api.soft_deleted_user(user_id):
                snapshot.soft_deleted[user_id] = gone
        return snapshot

    @staticmethod
    def _suspended_of(
        subject: Subject, snapshot: Snapshot, known: set[str], suspended: Sequence[SuspendedTicket]
    ) -> dict[str, SuspendedTicket]:
        authors = {*snapshot.users, *known}
        frozen = set(subject.record_ids(SUSPENDED_TICKET))
        return {
            ticket.id: ticket
            for ticket in suspended
            if ticket.id in frozen or ticket.author_id in authors or has_email(subject, ticket.author_email)
        }
