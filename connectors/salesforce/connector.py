"""The Salesforce connector: what it declares, its settings, and which part does what.

Erases a person and every related record for good, as the org's own describes tell what is related. README.md says what
that does not reach and which of the vendor's facts are unconfirmed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from connectors.base.config import SystemConfig
from connectors.base.errors import TemporarilyUnavailable
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
from connectors.base.values import Batch, ChangePage, Located, Preview, Visibility
from connectors.salesforce.changes import ChangeReader
from connectors.salesforce.confirmation import Confirmation
from connectors.salesforce.deletion.dependents import DependentSearch, Key, with_halves
from connectors.salesforce.deletion.preparation import counted
from connectors.salesforce.deletion.root_search import RootSearch
from connectors.salesforce.erasure import ErasurePass, Waits
from connectors.salesforce.identifiers import EMAIL, EXTERNAL_ID, ID_KINDS, PHONE, Rules
from connectors.salesforce.org.grants import SalesforceCredentials
from connectors.salesforce.org.org import Org
from connectors.salesforce.org.private_cache import PrivateCache
from connectors.salesforce.org.reading import Reader, SchemaChangedError, TooHeavyError
from connectors.salesforce.org.schema import USER, Schema
from connectors.salesforce.org.schema_source import SchemaSource
from connectors.salesforce.org.session import SalesforceSession
from connectors.salesforce.org.visibility import Control, check_own_record, check_rights, own_record_asked, rights_asked
from connectors.salesforce.policy import SalesforcePolicy
from connectors.salesforce.suppression import SCOPES, Suppression

NOT_COVERED = (
    "field_history_of_records_that_stay",
    "big_objects_and_field_audit_trail",
    "data_cloud",
    "marketing_cloud_and_account_engagement",
    "salesforce_archive",
    "sandboxes_and_backups",
    "free_text_in_other_peoples_records",
    "records_that_salesforce_does_not_let_delete",
)
_PEOPLE_PER_PASS = 1_000
_UNTIL_CLEARED = timedelta(hours=24)
_T = TypeVar("_T")


class SalesforceConnector(Connector):
    """One Salesforce org."""

    declaration = Declaration(
        name="salesforce",
        identifier_kinds=frozenset({EMAIL, PHONE, EXTERNAL_ID, *ID_KINDS}),
        operations=frozenset(Operation) - {Operation.READ_SUPPRESSION},
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call=dict.fromkeys(Operation, _PEOPLE_PER_PASS),
        required_scopes=("api", "permission:ViewAllData", "permission:ModifyAllData"),
        verifies_visibility=True,
        reports_changes=True,
        # Deletions under one Account must not overlap: UNABLE_TO_LOCK_ROW.
        max_concurrency=1,
        delays=Delays(confirm_after=timedelta(0), poll_every=timedelta(seconds=10), purge_after=timedelta(days=15)),
        # An opt-out written on a record that is deleted a moment later keeps nobody out.
        suppress_first=False,
        suppression_scopes=SCOPES,
        not_covered=NOT_COVERED,
    )
    Credentials = SalesforceCredentials
    Policy = SalesforcePolicy

    @classmethod
    def kinds_of(cls, system: SystemConfig) -> frozenset[str]:
        """The declared kinds, and those of the fields that the policy names."""
        assert isinstance(system.policy, SalesforcePolicy)
        return Rules(dict(system.policy.fields), system.policy.home_region).all_kinds

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        credentials, policy = system.credentials, system.policy
        if not isinstance(credentials, SalesforceCredentials) or not isinstance(policy, SalesforcePolicy):
            raise TypeError("a Salesforce system is built by SalesforceConnector.parse_system")
        self._policy = policy
        self._rules = Rules(dict(policy.fields), policy.home_region)
        # The engine asks the instance which kinds it understands, and some of them are the system's own choice.
        self.declaration = replace(  # type: ignore[misc]  # an instance's own value of a class variable, on purpose
            type(self).declaration, identifier_kinds=self.kinds_of(system)
        )
        self._session = SalesforceSession(system, share=policy.daily_call_share)
        cache = PrivateCache(policy.cache_directory)
        self._org = Org(system.base_url, system.network, credentials, policy.api_version, cache, self._session)
        self._source = SchemaSource(self._org, timedelta(hours=policy.schema_hours))

    @property
    def calls(self) -> int:
        """HTTP calls made so far, those for tokens included."""
        return self._session.calls

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def check_credentials(self) -> Visibility:
        """Prove that the user sees all data and finds itself by the look from which absence is concluded.

        One call, warm.

        Raises: CredentialsRefused (`missing_scope`, `no_visibility`), AnswerNotUnderstood where there is no org.
        """
        return self._with_schema(self._check)

    def _check(self, schema: Schema) -> Visibility:
        rights = rights_asked(schema)
        asked = [*rights, own_record_asked(self._org.user_id)]
        answers = self._reader(schema).run(asked, range(len(asked)))
        check_own_record(answers[-1], self._org.user_id)
        check_rights(answers[:-1])
        if not rights:
            return Visibility("control_record", "the user finds itself; permissions can't be asked for here")
        return Visibility("control_record", "a user that finds itself and sees all data")

    def locate(self, batch: Batch) -> Findings:
        """Find roots by every identifier and reference, and records that hold a value.

        `count_related`: dependents are counted, too.
        """
        return self._with_schema(lambda schema: self._locate(schema, batch))

    def _locate(self, schema: Schema, batch: Batch) -> dict[str, Located]:
        search = self._search(schema)
        snapshots = search.for_people(batch.subjects)
        findings = {s.ref: search.located(s, snapshots[s.ref]) for s in batch.subjects}
        if not self._policy.count_related:
            return findings
        owners: dict[Key, set[str]] = {}
        for ref, snapshot in snapshots.items():
            for key in with_halves(r for r in snapshot.roots.values() if r.object != USER):
                owners.setdefault(key, set()).add(ref)
        rows = DependentSearch(schema, self._reader(schema), self._policy.staying).run(owners).values()
        return {
            ref: counted(located, (r for r in rows if ref in r.owners and r.key not in snapshots[ref].copies))
            for ref, located in findings.items()
        }

    def preview(self, batch: Batch) -> Preview:
        """Return the effects of `erase` on these records, and the calls that it and its look would take."""
        return self._with_schema(lambda schema: self._pass(schema, batch, _NoLease()).foresee())

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        """Untie what stays, delete what hangs on the roots, then the roots, and purge all of it.

        Answers: ERASED; ACCEPTED(resumes) while a bulk job runs or the recycle bin still shows something; PARTIAL with
        what is new or refused; RETAINED by policy; AMBIGUOUS; ALREADY_ABSENT.
        """
        return self._with_schema(lambda schema: self._pass(schema, batch, lease).run())

    def _pass(self, schema: Schema, batch: Batch, lease: Lease) -> ErasurePass:
        waits = Waits(self.delay("poll_every"), self._until_cleared(), self.delay("purge_after"))
        reader = self._reader(schema)
        return ErasurePass(self._org, schema, self._policy, self._search(schema), reader, waits, batch, lease)

    def suppress(self, batch: Batch, lease: Lease) -> Answers:
        """Write the opt-outs that the org has, on the records that are there."""
        return self._with_schema(
            lambda schema: Suppression(
                self._org, schema, self._search(schema), self._reader(schema), batch, lease
            ).run()
        )

    def confirm_absence(self, batch: Batch) -> Answers:
        """Look by every identifier, reference and frozen id.

        ACCEPTED while the recycle bin still shows something.
        """
        return self._with_schema(lambda schema: self._confirm(schema, batch))

    def _confirm(self, schema: Schema, batch: Batch) -> Answers:
        return Confirmation(self._search(schema), schema, self._policy, self._until_cleared()).run(batch)

    def changed_since(self, cursor: str | None, begin_at: datetime) -> ChangePage:
        """People's own records by `SystemModstamp`, two calls a page. The overlap is `policy.overlap_minutes`."""
        return self._with_schema(lambda schema: self._changes(schema).page(cursor, begin_at))

    def _changes(self, schema: Schema) -> ChangeReader:
        overlap = timedelta(minutes=self._policy.overlap_minutes)
        reader, session = self._reader(schema), self._session
        return ChangeReader(schema, self._rules, reader, self._org.user_id, overlap, lambda: session.told_at)

    def _until_cleared(self) -> timedelta:
        """Purged rows may still be shown for about a day; `delays.confirm_after` overrides it."""
        return max(self.system.delays.get("confirm_after", _UNTIL_CLEARED), timedelta(milliseconds=50))

    def _search(self, schema: Schema) -> RootSearch:
        shared = frozenset(self._policy.shared_kinds)
        return RootSearch(schema, self._rules, self._reader(schema), shared, self._org.user_id)

    def _reader(self, schema: Schema) -> Reader:
        return Reader(self._org, Control(schema, self._org.user_id))

    def _with_schema(self, act: Callable[[Schema], _T]) -> _T:
        """Act; once more under a fresh schema if the org says that a field or an object isn't there any more, and
        once more with lighter queries if it gave one up. Whatever is acted is fit to be begun anew."""
        schema = self._source.schema()
        for _ in range(2):
            try:
                return act(schema)
            except SchemaChangedError:
                schema = self._source.refresh()
            except TooHeavyError:
                if not self._org.takes_deep_queries:
                    raise
                self._org.takes_deep_queries = False
        try:
            return act(schema)
        except SchemaChangedError:
            raise TemporarilyUnavailable("schema_changes") from None


class _NoLease:
    """For a pass that only looks: it has nothing to resume, and would be told to stop before any effect."""

    resume_token: bytes | None = None

    def save(self, resume_token: bytes) -> None:
        """Nothing is kept of a look."""

    def may_proceed(self, ref: str) -> bool:
        """Never."""
        return False
