"""`confirm_absence`: a look by every identifier, reference and frozen id, without the plan's knowledge.

Decides what counts as absent: not there and not shown in the recycle bin either. A record that queryAll shows as
deleted is "purge pending", neither gone nor failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base.errors import ConnectorError
from connectors.base.values import Answer, Batch, Left, Subject
from connectors.salesforce.deletion.dependents import Key
from connectors.salesforce.deletion.root_search import RootSearch, Snapshot, person_fields
from connectors.salesforce.identifiers import long_id
from connectors.salesforce.org.schema import USER, Schema
from connectors.salesforce.policy import Action, SalesforcePolicy


class Confirmation:
    """One look at a batch."""

    def __init__(self, search: RootSearch, schema: Schema, policy: SalesforcePolicy, until_cleared: timedelta) -> None:
        self._search = search
        self._schema = schema
        self._policy = policy
        self._until_cleared = until_cleared

    def run(self, batch: Batch) -> dict[str, Answer | ConnectorError]:
        """An answer for each person."""
        snapshots = self._search.for_people(batch.subjects, expecting=False)
        return {s.ref: self._answer(s, snapshots[s.ref]) for s in batch.subjects}

    def _answer(self, subject: Subject, snapshot: Snapshot) -> Answer:
        planned = {(r.object, long_id(r.id) or r.id) for r in subject.records}
        left: list[Left] = []
        kept: list[Left] = []
        pending: list[Left] = []
        for key, row in {**{k: r.row for k, r in snapshot.roots.items()}, **snapshot.copies}.items():
            if key not in planned:
                continue
            if row.get("IsDeleted") is True:
                pending.append(Left(*key, "purge_pending"))
            elif not self._holds_value(subject, key, row) and self._may_stay(key, row):
                if not self._is_anothers(key, row):
                    kept.append(Left(*key, self._reason(key)))
            elif key in snapshot.copies and not self._is_deleted_by_policy(key):
                kept.append(Left(*key, self._reason(key)))
            else:
                left.append(Left(*key, "still_there"))
        new = snapshot.without(planned)
        if not new.is_empty:
            left += [Left(*key, "not_in_plan") for key in sorted({*new.roots, *new.copies})]
            return Answer.partial(tuple(left), found=self._search.located(subject, new))
        if left:
            return Answer.partial(tuple(left + kept))
        if pending:
            return Answer.accepted(datetime.now(UTC) + self._until_cleared, left=tuple(pending + kept))
        if kept:
            return Answer.retained(kept[0].reason, left=tuple(kept))
        return Answer.already_absent()

    def _holds_value(self, subject: Subject, key: Key, row: Mapping[str, Any]) -> bool:
        return bool(self._search.matching_fields(subject, key[0], row))

    def _is_deleted_by_policy(self, key: Key) -> bool:
        return self._policy.rule(key[0]).action is Action.DELETE

    def _may_stay(self, key: Key, row: Mapping[str, Any]) -> bool:
        """Without a value of the person: users, what policy keeps, and other people's records."""
        return key[0] == USER or not self._is_deleted_by_policy(key) or self._is_anothers(key, row)

    def _is_anothers(self, key: Key, row: Mapping[str, Any]) -> bool:
        return key[0] != USER and any(row.get(f) for f in person_fields(self._schema.objects[key[0]]))

    def _reason(self, key: Key) -> str:
        rule = self._policy.rule(key[0])
        return "anonymised" if key[0] == USER else rule.reason or rule.action.value
