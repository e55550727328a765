"""The Zendesk connector: what it declares, its settings, and which part does what.

Erases end-users, the tickets they requested and their suspended tickets, for good. README.md says what it does not
cover and which of the vendor's facts are unconfirmed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Literal, Self

from pydantic import SecretStr, model_validator

from connectors.base.config import IdentifierKind, SystemConfig, SystemModel
from connectors.base.errors import ConnectorError, CredentialsRefused
from connectors.base.interface import (
    Answers,
    Connector,
    Declaration,
    Delays,
    ErasesBy,
    Findings,
    Lease,
    Operation,
    RateLimit,
)
from connectors.base.toolkit.http import VendorClient
from connectors.base.values import Batch, Located, Subject, Visibility
from connectors.zendesk.api import ZendeskApi, refine
from connectors.zendesk.confirmation import Confirmation
from connectors.zendesk.erasure import ErasurePass, Rules
from connectors.zendesk.look import USER, AccountReader, Snapshot
from connectors.zendesk.matching import EMAIL, PHONE, USER_ID

# Two searches a person: 50 people are half of what the smallest plans allow in a minute (200 calls).
_PEOPLE_PER_PASS = 50
_DEFAULT_EXTERNAL_ID = "customer_id"


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
    """`tickets`: delete them, or retain them and the user with them. `external_id_kind`: our kind of the external id.

    `scan_deleted_users`: also search the list of deleted users, one call per 100 of them in every pass.
    """

    tickets: Literal["delete", "retain"] = "delete"
    external_id_kind: IdentifierKind = _DEFAULT_EXTERNAL_ID
    scan_deleted_users: bool = True


class ZendeskConnector(Connector):
    """One Zendesk account."""

    declaration = Declaration(
        name="zendesk",
        identifier_kinds=frozenset({EMAIL, PHONE, _DEFAULT_EXTERNAL_ID, USER_ID}),
        operations=frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM}),
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call=dict.fromkeys((Operation.LOCATE, Operation.ERASE, Operation.CONFIRM), _PEOPLE_PER_PASS),
        required_scopes=("role:admin",),
        rate_limits=(
            RateLimit(calls=200, per=timedelta(minutes=1)),
            RateLimit(calls=700, per=timedelta(minutes=10), per_subject=True),
        ),
        max_concurrency=2,
        max_concurrent_people=3,
        delays=Delays(
            confirm_after=timedelta(minutes=5), poll_every=timedelta(seconds=5), purge_after=timedelta(minutes=15)
        ),
        not_covered=(
            "comments_on_others_tickets",
            "cc_and_follower_on_others_tickets",
            "tickets_soft_deleted_before_locate",
            "help_center_content",
            "chat_talk_sell_explore",
            "user_fields_of_other_users",
        ),
    )
    Credentials = ZendeskCredentials
    Policy = ZendeskPolicy

    @classmethod
    def kinds_of(cls, system: SystemConfig) -> frozenset[str]:
        """E-mail, phone, Zendesk's user id, and the kind that this system keeps in `external_id`."""
        assert isinstance(system.policy, ZendeskPolicy)
        return frozenset({EMAIL, PHONE, system.policy.external_id_kind, USER_ID})

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        credentials, policy = system.credentials, system.policy
        if not isinstance(credentials, ZendeskCredentials) or not isinstance(policy, ZendeskPolicy):
            raise TypeError("a Zendesk system is built by ZendeskConnector.parse_system")
        self._policy = policy
        # The engine asks the instance which kinds it understands, and one of them is the system's own choice.
        self.declaration = replace(  # type: ignore[misc]  # an instance's own value of a class variable, on purpose
            type(self).declaration, identifier_kinds=self.kinds_of(system)
        )
        self._client = _client(system, credentials)
        self._api = ZendeskApi(self._client)
        self._look = AccountReader(
            self._api,
            policy.external_id_kind,
            scan_deleted_users=policy.scan_deleted_users,
            at_most=self.max_concurrent_people,
        )

    @property
    def calls(self) -> int:
        """HTTP calls made so far."""
        return self._client.calls

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def check_credentials(self) -> Visibility:
        """An unrestricted admin that finds itself by the three kinds of look that absence is concluded from.

        Raises: CredentialsRefused (`missing_scope` for anybody but an admin, `no_visibility`), AnswerNotUnderstood
        where the base URL is no account. Calls: users/me, users/search, search.
        """
        me = self._api.me(fresh=True)
        if me.role != "admin":
            raise CredentialsRefused("missing_scope")
        if not me.emails:
            raise CredentialsRefused("no_control_record")
        seen = me.id in self._api.search_users(next(iter(me.emails))) and self._api.is_user_searchable(me)
        if not seen:
            raise CredentialsRefused("no_visibility")
        return Visibility("control_record", "an admin that finds itself")

    def locate(self, batch: Batch) -> Findings:
        """Users by any identity, their tickets (archived ones too), their suspended tickets; all identities carried."""
        findings: dict[str, Located | ConnectorError] = {}
        snapshots = self._look.for_people(batch.subjects)
        self._look.add_tickets(
            [
                (snapshot, _owners(s, snapshot))
                for s in batch.subjects
                if isinstance(snapshot := snapshots[s.ref], Snapshot)
            ]
        )
        for subject in batch.subjects:
            snapshot = snapshots[subject.ref]
            if isinstance(snapshot, ConnectorError):
                findings[subject.ref] = snapshot
                continue
            located = self._look.located(subject, snapshot)
            notes = ("staff_account",) if snapshot.has_staff else ()
            findings[subject.ref] = replace(located, not_covered=(*located.not_covered, *notes))
        return findings

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        """Delete tickets, then users, each softly and then for good; staff never.

        Answers: ERASED; ACCEPTED(resumes) while a job of the vendor runs; PARTIAL with what is new or refused;
        RETAINED by policy; AMBIGUOUS("staff_account"); ALREADY_ABSENT.
        Source: Support API 2.0.0, and support.zendesk.com 4408821737498 for "no user with unclosed tickets"
        (read 2026-11-22).
        """
        rules = Rules(
            retain_tickets=self._policy.tickets == "retain",
            poll_every=self.delay("poll_every"),
            search_lag=self.delay("confirm_after"),
        )
        return ErasurePass(self._api, self._look, rules, batch, lease).run()

    def confirm_absence(self, batch: Batch) -> Answers:
        """Look by every identifier and frozen id; ACCEPTED while the vendor itself says that it is still deleting."""
        confirmation = Confirmation(
            self._api,
            self._look,
            retain_tickets=self._policy.tickets == "retain",
            search_lag=self.delay("confirm_after"),
            purge_after=self.delay("purge_after"),
            at_most=self.max_concurrent_people,
        )
        return confirmation.run(batch)


def _owners(subject: Subject, snapshot: Snapshot) -> set[str]:
    """Users whose tickets are the person's: staff's are not."""
    staff = {user.id for user in snapshot.live.values() if user.is_staff}
    return {*snapshot.users, *subject.record_ids(USER)} - staff


def _client(system: SystemConfig, credentials: ZendeskCredentials) -> VendorClient:
    """API token: Basic `email/token`. OAuth: bearer. Source: developer.zendesk.com, security and authentication."""
    auth: tuple[str, str] | None = None
    headers: dict[str, str] = {}
    if credentials.oauth_token is not None:
        headers["authorization"] = f"Bearer {credentials.oauth_token.get_secret_value()}"
    elif credentials.email is not None and credentials.api_token is not None:
        auth = (f"{credentials.email}/token", credentials.api_token.get_secret_value())
    return VendorClient.for_system(system, auth=auth, headers=headers, refine=refine)
