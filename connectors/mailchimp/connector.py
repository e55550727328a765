"""Mailchimp Marketing API 3.0: members of all audiences, erased with `delete-permanent` (archiving is not erasure).

Declares what the connector can and how the vendor behaves; README.md has the sources. The work is in `people`
(who is whose), `erasure` (one attempt), `jobs` (`/batches`) and `api` (calls and their errors).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, Field, SecretStr

from connectors.base.config import SystemConfig, SystemModel
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.interface import (
    Answers,
    Connector,
    Declaration,
    Delays,
    ErasesBy,
    Findings,
    Lease,
    Operation,
)
from connectors.base.toolkit.concurrently import for_each_person
from connectors.base.toolkit.http import field_of
from connectors.base.values import Answer, Batch, Located, Subject, Visibility
from connectors.mailchimp.api import PAGE_SIZE, MailchimpApi, Member, MemberCall, Outcome, Verb, subscriber_hashes
from connectors.mailchimp.erasure import Erasure
from connectors.mailchimp.people import (
    CONTACT_ID,
    EMAIL,
    NOT_COVERED,
    OBJECT,
    carry_out,
    emails,
    found_members,
    left_of,
    located,
    looks,
)

_Got = TypeVar("_Got", Answer, Located)

# An archived, cleaned or transactional member gets no marketing; a new status would bring an archived one back.
_CONTACTABLE = frozenset({"subscribed", "pending"})


class MailchimpCredentials(SystemModel):
    """`api_key`: an account's API key, `<key>-<data centre>`."""

    api_key: SecretStr


class MailchimpPolicy(SystemModel):
    """`batch_threshold`: up to so many operations are made directly, more go through a job.

    `control_email`: a member kept on purpose, whom every pass must be able to see. Without it the audiences and the
    number of their members are the proof of sight.
    """

    batch_threshold: int = Field(default=20, ge=0)
    control_email: str | None = Field(default=None, repr=False)


def _reading(ref: str) -> bool:
    """For looks only, which nothing has to allow; a deletion among them would be stopped."""
    return False


class MailchimpConnector(Connector):
    """One Mailchimp account."""

    declaration = Declaration(
        name="mailchimp",
        identifier_kinds=frozenset({EMAIL, CONTACT_ID}),
        operations=frozenset(Operation),
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call={
            Operation.LOCATE: 50,
            Operation.SUPPRESS: 50,
            Operation.ERASE: 200,
            Operation.CONFIRM: 50,
        },
        # Ten simultaneous connections for all of the account's integrations: we take less than half.
        max_concurrency=2,
        max_concurrent_people=2,
        delays=Delays(confirm_after=timedelta(seconds=60), poll_every=timedelta(seconds=15)),
        # delete-permanent takes effect at once and blocks re-import itself; unsubscribing first would only add a trace.
        suppress_first=False,
        not_covered=NOT_COVERED,
    )
    Credentials: ClassVar[type[BaseModel]] = MailchimpCredentials
    Policy: ClassVar[type[BaseModel]] = MailchimpPolicy

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        credentials, policy = system.credentials, system.policy
        if not isinstance(credentials, MailchimpCredentials) or not isinstance(policy, MailchimpPolicy):
            raise TypeError("a Mailchimp system has Mailchimp's credentials and policy")
        self._policy = policy
        self._api = MailchimpApi(system, credentials.api_key.get_secret_value())
        self._phone_tags: dict[str, frozenset[str]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    @property
    def calls(self) -> int:
        """HTTP calls made so far."""
        return self._api.client.calls

    def check_credentials(self) -> Visibility:
        """See an audience, and in the fullest one members if it counts any; 2 calls, a few more with a control member.

        Raises: CredentialsRefused("no_visibility") without audiences, or if members are counted but not shown.
        """
        fields = "lists.id,lists.stats.member_count,total_items"
        params: dict[str, str | int] = {"count": PAGE_SIZE, "fields": fields}
        reply = self._api.client.request("GET", "/lists", expect=(200,), params=params)
        counts = {
            field_of(a, "id", str): field_of(field_of(a, "stats", dict), "member_count", int)
            for a in reply.field("lists", list)
        }
        if not counts:
            raise CredentialsRefused("no_visibility")
        fullest = max(counts, key=lambda list_id: counts[list_id])
        path = f"/lists/{quote(fullest, safe='')}/members"
        control = self._api.client.request(
            "GET", path, expect=(200,), params={"count": 1, "fields": "list_id,total_items"}
        )
        if control.field("list_id", str) != fullest:
            raise AnswerNotUnderstood("member_of_other_audience")
        if control.field("total_items", int) == 0 and counts[fullest] > 0:
            raise CredentialsRefused("no_visibility")
        if self._policy.control_email:
            self._see_control_member(self._policy.control_email)
        return Visibility("control_record", f"{len(counts)} audiences")

    def _see_control_member(self, email: str) -> None:
        for list_id in self._api.audiences():
            for key in subscriber_hashes(email):
                if self._api.call(MemberCall("", Verb.LOOK, list_id, key)).status == 200:
                    return
        raise CredentialsRefused("no_visibility")

    def locate(self, batch: Batch) -> Findings:
        """Look in every audience by every identifier: one GET each. All statuses answer, `archived` too.

        The search across audiences would take fewer calls, but isn't documented to show archived members; a job of
        looks would leave a stored result behind and `locate` can't wait for it.
        """
        audiences = self._api.audiences()
        return self._each(batch, audiences, lambda s, members: located(s, members, self._tags))

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        """Delete every planned member for good, per audience; look everywhere else for what isn't planned.

        Answers ACCEPTED(resumes=True) while a job runs; each operation's own result decides.
        Shape: POST /lists/{list_id}/members/{hash}/actions/delete-permanent -> 204; or
        POST /batches {"operations": [..]} -> {"id", "status"}, then
        GET /batches/{id} -> {"status": "finished", "response_body_url"}, a tar.gz of JSON files.
        Source: spec 3.0.55; guide "Run async requests with the batch endpoint" (read 2026-11-22).
        """
        return Erasure(
            self._api,
            batch,
            lease,
            batch_threshold=self._policy.batch_threshold,
            poll_every=self.delay("poll_every"),
        ).answers()

    def suppress(self, batch: Batch, lease: Lease) -> Answers:
        """Unsubscribe existing members in every audience. A person who is in none isn't created to be unsubscribed:
        ALREADY_ABSENT. SUPPRESSED: no audience contacts them now.

        Shape: PATCH /lists/{list_id}/members/{hash} {"status": "unsubscribed"} -> the member.
        """
        audiences = self._api.audiences()
        return self._each(batch, audiences, lambda s, members: self._suppressed(s, members, lease))

    def _suppressed(self, subject: Subject, members: tuple[Member, ...], lease: Lease) -> Answer:
        for member in members:
            if member.status in _CONTACTABLE:
                if not lease.may_proceed(subject.ref):
                    raise TemporarilyUnavailable("stopped")
                self._api.unsubscribe(member)
        return Answer.suppressed() if members else Answer.already_absent()

    def confirm_absence(self, batch: Batch) -> Answers:
        """Look in every audience that there is *now*, by every identifier and frozen record, then search once per
        address: two ways that must both find nothing."""
        audiences = self._api.audiences()
        return self._each(batch, audiences, self._confirmed)

    def _confirmed(self, subject: Subject, members: tuple[Member, ...]) -> Answer:
        if not (subject.records or emails(subject) or subject.values(CONTACT_ID)):
            return Answer.not_addressable()
        planned = set(subject.record_ids(OBJECT))
        new = [m for m in members if m.record_id not in planned]
        left = left_of((m.record_id for m in members if m.record_id in planned), "still_present")
        left += left_of((m.record_id for m in new), "not_in_plan")
        if left:
            return Answer.partial(left, found=located(subject, new, self._tags) if new else None)
        searched = [record_id for email in emails(subject) for record_id in self._api.search(email)]
        if searched:
            return Answer.partial(left_of(dict.fromkeys(searched), "still_found_by_search"))
        return Answer.already_absent()

    def _each(
        self,
        batch: Batch,
        audiences: tuple[str, ...],
        conclude: Callable[[Subject, tuple[Member, ...]], _Got],
    ) -> dict[str, _Got | ConnectorError]:
        """Look for every person, then conclude one by one; an error is that person's."""
        got: dict[str, _Got | ConnectorError] = {}
        calls: list[MemberCall] = []
        for subject in batch.subjects:
            try:
                calls += looks(subject, audiences)
            except ConnectorError as error:
                got[subject.ref] = error
        outcomes = carry_out(self._api, calls, _reading, at_most=self.max_concurrent_people)
        own: dict[str, dict[MemberCall, Outcome | ConnectorError]] = {s.ref: {} for s in batch.subjects}
        for call, outcome in outcomes.items():
            own[call.ref][call] = outcome
        asked = [subject for subject in batch.subjects if subject.ref not in got]
        return got | for_each_person(
            asked, lambda s: conclude(s, found_members(s, own[s.ref])), at_most=self.max_concurrent_people
        )

    def _tags(self, list_id: str) -> frozenset[str]:
        if list_id not in self._phone_tags:
            self._phone_tags[list_id] = self._api.phone_tags(list_id)
        return self._phone_tags[list_id]
