"""Opt-outs on existing records, in the fields that describe calls writable.

No record is created. Decides which fields say "no" and their values. An object without such a field is no hindrance,
because Expunge's own list still holds. Source: object reference of Contact, Lead, Individual, contact point consents
(read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.base.errors import ConnectorError, RequestRefused, TemporarilyUnavailable
from connectors.base.interface import Lease
from connectors.base.values import Answer, Batch
from connectors.salesforce.deletion.dependents import Key
from connectors.salesforce.deletion.planning import Change
from connectors.salesforce.deletion.root_search import RootSearch, Snapshot
from connectors.salesforce.deletion.writing import Verdict, Writer
from connectors.salesforce.org.org import Org
from connectors.salesforce.org.reading import Reader
from connectors.salesforce.org.schema import ACCOUNT, INDIVIDUAL, Schema
from connectors.salesforce.org.soql import by_id, selects

# Every one is written before an erasure; an opt-out writes those of its scopes.
_OPT_OUTS = (
    "HasOptedOutOfEmail",
    "HasOptedOutOfFax",
    "DoNotCall",
    "PersonHasOptedOutOfEmail",
    "PersonHasOptedOutOfFax",
    "PersonDoNotCall",
    "ShouldForget",
    "HasOptedOutProcessing",
    "HasOptedOutProfiling",
    "HasOptedOutSolicit",
    "HasOptedOutTracking",
    "HasOptedOutGeoTracking",
)
_OF_SCOPE = {
    "do_not_contact:email": ("HasOptedOutOfEmail", "PersonHasOptedOutOfEmail"),
    "do_not_contact:phone": ("DoNotCall", "PersonDoNotCall"),
}
SCOPES = frozenset(_OF_SCOPE)
"""The scopes that standard fields express. No describe that we know has one for text messages (unconfirmed)."""
_POINT_OF_SCOPE = {"do_not_contact:email": "ContactPointEmail", "do_not_contact:phone": "ContactPointPhone"}
_CONSENT, _TYPE_CONSENT = "ContactPointConsent", "ContactPointTypeConsent"
_POINTS = ("ContactPointEmail", "ContactPointPhone", "ContactPointAddress")
_STATUS, _OPT_OUT = "PrivacyConsentStatus", "OptOut"


class Suppression:
    """One pass over a batch. A person without scopes is about to be erased: every opt-out is written."""

    def __init__(
        self, org: Org, schema: Schema, search: RootSearch, reader: Reader, batch: Batch, lease: Lease
    ) -> None:
        self._org = org
        self._schema = schema
        self._search = search
        self._reader = reader
        self._batch = batch
        self._lease = lease
        self._scopes = {subject.ref: SCOPES & frozenset(subject.scopes) for subject in batch.subjects if subject.scopes}
        self._stopped: set[str] = set()

    def run(self) -> dict[str, Answer | ConnectorError]:
        """SUPPRESSED where at least one opt-out stands now and none was refused; ALREADY_ABSENT for strangers."""
        snapshots = self._search.for_people(self._batch.subjects)
        changes: dict[Key, tuple[dict[str, Any], set[str]]] = {}
        known: set[str] = set()
        for ref, snapshot in snapshots.items():
            for key, root in snapshot.roots.items():
                known.add(ref)
                values = self._opt_outs(key[0], ref)
                # A converted lead can't be changed any more; its contact or account carries the opt-out.
                if values and not root.is_deleted and root.row.get("IsConverted") is not True:
                    written, refs = changes.setdefault(key, ({}, set()))
                    # A record of two people takes the opt-outs of both.
                    written.update(values)
                    refs.add(ref)
        owners: dict[Key, set[str]] = {}
        for ref, snapshot in snapshots.items():
            for key in snapshot.roots:
                owners.setdefault(key, set()).add(ref)
        for key, refs in self._consents(owners, snapshots).items():
            changes.setdefault(key, ({_STATUS: _OPT_OUT}, set()))[1].update(refs)
        verdicts = Writer(self._org, self._may).change(
            [Change(key, values, frozenset(refs)) for key, (values, refs) in changes.items()]
        )
        return {s.ref: self._answer(s.ref, s.ref in known, changes, verdicts) for s in self._batch.subjects}

    def _answer(
        self,
        ref: str,
        is_known: bool,
        changes: Mapping[Key, tuple[dict[str, Any], set[str]]],
        verdicts: Mapping[Key, Verdict],
    ) -> Answer | ConnectorError:
        if ref in self._stopped:
            return TemporarilyUnavailable("stopped")
        mine = [verdicts[key] for key, (_, refs) in changes.items() if ref in refs]
        if any(v is Verdict.BUSY for v in mine):
            return TemporarilyUnavailable("row_locked", retry_after_seconds=10)
        if any(v not in (Verdict.DONE, Verdict.GONE) for v in mine):
            return RequestRefused("opt_out_refused")
        if not is_known:
            return Answer.already_absent()
        return Answer.suppressed() if mine else RequestRefused("no_opt_out_field")

    def _opt_outs(self, name: str, ref: str) -> dict[str, Any]:
        known, scopes = self._schema.objects[name], self._scopes.get(ref)
        wanted = _OPT_OUTS if scopes is None else [f for scope in sorted(scopes) for f in _OF_SCOPE[scope]]
        return {f: True for f in wanted if known.has(f) and known.fields[f].updateable}

    def _wanting(self, name: str, refs: set[str]) -> set[str]:
        """Return those of the people whose opt-out reaches consents of this kind of contact point."""
        return {
            ref
            for ref in refs
            if ref not in self._scopes or any(_POINT_OF_SCOPE[scope] == name for scope in self._scopes[ref])
        }

    def _consents(self, roots: Mapping[Key, set[str]], snapshots: Mapping[str, Snapshot]) -> dict[Key, set[str]]:
        """Return consents by type: those of the people among the roots, and those of their contact points.

        A contact point is an address of the person's own or one with one of their values.
        """
        parties = {i: refs for (name, i), refs in roots.items() if name in (INDIVIDUAL, ACCOUNT)}
        points: dict[str, set[str]] = {}
        for ref, snapshot in snapshots.items():
            for name, record_id in snapshot.copies:
                if name in _POINTS and (wanting := self._wanting(name, {ref})):
                    points.setdefault(record_id, set()).update(wanting)
        found: dict[Key, set[str]] = {}
        asked = [(name, "ParentId", parties) for name in _POINTS if name in self._schema.objects]
        if self._is_writable(_TYPE_CONSENT):
            asked.append((_TYPE_CONSENT, "PartyId", parties))
        for (name, record_id), owners in self._under(asked).items():
            refs = self._wanting(name, owners)
            if refs and name == _TYPE_CONSENT:
                found[name, record_id] = refs
            elif refs:
                points.setdefault(record_id, set()).update(refs)
        if self._is_writable(_CONSENT):
            found |= self._under([(_CONSENT, "ContactPointId", points)])
        return found

    def _is_writable(self, name: str) -> bool:
        known = self._schema.objects.get(name)
        return known is not None and known.has(_STATUS) and known.fields[_STATUS].updateable

    def _under(self, asked: Sequence[tuple[str, str, Mapping[str, set[str]]]]) -> dict[Key, set[str]]:
        """Return an object's records whose field names one of these, each with its people.

        Deleted records don't count.
        """
        texts = [
            (name, field, owners, text)
            for name, field, owners in asked
            if self._schema.objects[name].has(field)
            for text in selects(["Id", field], name, [(field, list(map(by_id, owners)))], "IsDeleted = false")
        ]
        answers = self._reader.run([text for *_, text in texts])
        return {
            (name, str(row["Id"])): set(owners[str(row[field])])
            for (name, field, owners, _), rows in zip(texts, answers, strict=True)
            for row in rows
        }

    def _may(self, owners: frozenset[str]) -> bool:
        for ref in sorted(owners):
            if ref in self._stopped or not self._lease.may_proceed(ref):
                self._stopped.add(ref)
                return False
        return True
