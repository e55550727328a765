"""From a person to calls about members, and from what was answered back to what is true of the person.

Decides which member is whose (exact addresses, contact ids, frozen records; never a likeness). Makes no calls except
to learn which fields of an audience are phone numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.toolkit.concurrently import concurrently
from connectors.base.toolkit.letters import in_one_case
from connectors.base.values import Identifier, Left, Located, Record, Subject
from connectors.mailchimp.api import (
    MailchimpApi,
    Member,
    MemberCall,
    Outcome,
    Verb,
    member_of,
    subscriber_hashes,
)

OBJECT = "member"
EMAIL = "email"
CONTACT_ID = "mailchimp_contact_id"
NOT_COVERED = ("ecommerce_customers", "transactional_email", "other_audience_text_fields")

_RECORD_ID = re.compile(r"([^/]+)/([0-9a-f]{32})")
# After one of these the next call would only wait for the same answer, or make a throttle worse.
_HALTING = frozenset(
    {"rate_limited", "throttled", "no_connection", "timeout", "deadline_passed", "address_refused", "proxy_refused"}
)

Outcomes = Mapping[MemberCall, Outcome | ConnectorError]


def emails(subject: Subject) -> tuple[str, ...]:
    """The person's addresses."""
    return tuple(value for value in subject.values(EMAIL) if value)


def frozen(subject: Subject, audiences: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(audience, hash) of each frozen record. Raises if one isn't of our form or its audience isn't visible:
    a 404 from an audience that we can't see would prove nothing."""
    visible = frozenset(audiences)
    pairs: list[tuple[str, str]] = []
    for record_id in subject.record_ids(OBJECT):
        match = _RECORD_ID.fullmatch(record_id)
        if match is None:
            raise AnswerNotUnderstood("record_id_form")
        if match[1] not in visible:
            raise AnswerNotUnderstood("audience_not_visible")
        pairs.append((match[1], match[2]))
    return tuple(pairs)


def looks(subject: Subject, audiences: Iterable[str]) -> tuple[MemberCall, ...]:
    """A look in every audience by every identifier, and one at every frozen record."""
    visible = tuple(audiences)
    keys = [h for email in emails(subject) for h in subscriber_hashes(email)]
    keys += [value for value in subject.values(CONTACT_ID) if value]
    calls = [MemberCall(subject.ref, Verb.LOOK, list_id, key) for list_id in visible for key in keys]
    calls += [MemberCall(subject.ref, Verb.LOOK, list_id, key) for list_id, key in frozen(subject, visible)]
    return tuple(dict.fromkeys(calls))


def erasing_calls(subject: Subject, audiences: Iterable[str]) -> tuple[MemberCall, ...]:
    """A deletion of every frozen record, and a look everywhere else: what is deleted needs no look before."""
    visible = tuple(audiences)
    planned = set(frozen(subject, visible))
    deletions = [MemberCall(subject.ref, Verb.DELETE, list_id, key) for list_id, key in sorted(planned)]
    return (*deletions, *(c for c in looks(subject, visible) if (c.list_id, c.key) not in planned))


def carry_out(
    api: MailchimpApi, calls: Iterable[MemberCall], may_proceed: Callable[[str], bool], *, at_most: int = 1
) -> Outcomes:
    """Make the calls, `at_most` together. An error is that call's; one that concerns the whole system ends the rest,
    undone."""
    halted: list[ConnectorError] = []

    def one(call: MemberCall) -> Outcome:
        if halted:
            raise halted[0]
        if call.verb is Verb.DELETE and not may_proceed(call.ref):
            raise TemporarilyUnavailable("stopped")
        try:
            return api.call(call)
        except ConnectorError as error:
            if (halting := _halting(error)) is not None:
                halted.append(halting)
            raise

    return concurrently(list(dict.fromkeys(calls)), one, at_most=at_most)


def _halting(error: ConnectorError) -> ConnectorError | None:
    """The error that the calls after this one have, which were never made; None if they go on."""
    if isinstance(error, CredentialsRefused):
        return error
    if isinstance(error, TemporarilyUnavailable) and error.code in _HALTING:
        return TemporarilyUnavailable(error.code, status=error.status, retry_after_seconds=error.retry_after_seconds)
    return None


def first_error(outcomes: Iterable[Outcome | ConnectorError]) -> ConnectorError | None:
    """The error to report for a person: one whose effect is unknown before any other."""
    errors = [o for o in outcomes if isinstance(o, ConnectorError)]
    return next((e for e in errors if e.effect_unknown), errors[0] if errors else None)


def found_members(subject: Subject, own: Outcomes) -> tuple[Member, ...]:
    """The members that this person's looks found, without repeats. Raises a look's error, and on a wrong answer."""
    error = first_error(own.values())
    if error is not None:
        raise error
    members: dict[str, Member] = {}
    for call, outcome in own.items():
        if isinstance(outcome, Outcome) and outcome.status == 200:
            member = member_of(outcome.body, call.list_id)
            if _is_theirs(subject, member):
                members[member.record_id] = member
            elif member.hash != call.key:
                raise AnswerNotUnderstood("member_mismatch")
            # Else another spelling's owner, who has the hash that we asked for: not this person, and nobody's news.
    return tuple(members.values())


def _is_theirs(subject: Subject, member: Member) -> bool:
    by_email = in_one_case(member.email) in {in_one_case(e) for e in emails(subject)}
    by_contact = member.contact_id != "" and member.contact_id in subject.values(CONTACT_ID)
    return by_email or by_contact or member.record_id in subject.record_ids(OBJECT)


def located(subject: Subject, members: Iterable[Member], phone_tags: Callable[[str], frozenset[str]]) -> Located:
    """Records, counts, and every other identifier that the members carry."""
    own = {in_one_case(e) for e in emails(subject)}
    others: dict[Identifier, None] = {}
    rows = tuple(members)
    for member in rows:
        if in_one_case(member.email) not in own:
            others[Identifier(EMAIL, member.email)] = None
        if member.contact_id and member.contact_id not in subject.values(CONTACT_ID):
            others[Identifier(CONTACT_ID, member.contact_id)] = None
        phones = [member.sms_phone, *(member.merge_fields.get(tag) for tag in sorted(phone_tags(member.list_id)))]
        for phone in phones:
            if isinstance(phone, str) and phone.strip():
                others[Identifier("phone", phone.strip())] = None
    return Located(
        records=tuple(Record(OBJECT, m.record_id) for m in rows),
        counts={OBJECT: len(rows)} if rows else {},
        identifiers=tuple(others),
    )


def left_of(record_ids: Iterable[str], reason: str) -> tuple[Left, ...]:
    """What stays, with one reason."""
    return tuple(Left(OBJECT, record_id, reason) for record_id in record_ids)
