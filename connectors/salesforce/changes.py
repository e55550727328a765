"""Find people's records that the org created or changed since an instant, with their identifiers.

Decides how far a page reaches and where the next one begins; not who anybody is. Pages go by `SystemModstamp`, which
rises also when automatic processes write ("System Fields", Object Reference, read 2026-11-22). Many records can have
one instant, and a transaction that began earlier may commit later, so a page never ends within an instant, and the last
page's cursor steps back by the overlap. By the org's own clock (`Date`): an idle org isn't read again and again.

A transaction lasts 10 minutes at most (salesforce.stackexchange.com 18734, secondary, read 2026-11-22). Unconfirmed:
when within it the instant is taken, and whether Salesforce's own long-running ones, for which `latestDateCovered` of
getUpdated() waits "hours, in rare cases days" (help 000199029, read 2026-11-22), can commit people's records that late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import phonenumbers

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.values import ChangedRecord, ChangePage, Identifier, Record
from connectors.salesforce.identifiers import ID_KINDS, PHONE, Rules, carried
from connectors.salesforce.org.reading import Reader, Rows
from connectors.salesforce.org.schema import ACCOUNT, CONTACT, PEOPLE, ObjectType, Schema
from connectors.salesforce.org.soql import all_of, select
from connectors.salesforce.org.visibility import check_own_record, check_rights, own_record_asked, rights_asked

STAMP = "SystemModstamp"
ROWS_PER_OBJECT = 2_000
"""Of one page: what Salesforce gives in one answer."""
_SMALLEST_STEP = timedelta(milliseconds=1)


class ChangeReader:
    """Reads one page at a time; keeps nothing in between."""

    def __init__(
        self,
        schema: Schema,
        rules: Rules,
        reader: Reader,
        own_id: str,
        overlap: timedelta,
        org_clock: Callable[[], datetime | None],
    ) -> None:
        self._schema = schema
        self._rules = rules
        self._reader = reader
        self._own_id = own_id
        self._overlap = overlap
        self._org_clock = org_clock

    def page(self, cursor: str | None, begin_at: datetime) -> ChangePage:
        """At most ROWS_PER_OBJECT records of each kind, or all of one single instant."""
        at = begin_at - self._overlap if cursor is None else _instant(cursor)
        names = [name for name in PEOPLE if self._tells(name)]
        found = self._read(names, f">= {_literal(at)}", ROWS_PER_OBJECT)
        cut_off = [_changed_at(rows[-1]) for rows in found.values() if len(rows) >= ROWS_PER_OBJECT]
        if not cut_off:
            return ChangePage(self._seen(found), _literal(self._caught_up(at, found)), more=False)
        end = min(cut_off)
        if end > at:
            # Of the last instant there may be more than was told: it is the next page's.
            whole = {name: [row for row in rows if _changed_at(row) < end] for name, rows in found.items()}
            return ChangePage(self._seen(whole), _literal(end), more=True)
        found = self._read(names, f"= {_literal(at)}")
        return ChangePage(self._seen(found), _literal(at + _SMALLEST_STEP), more=True)

    def _tells(self, name: str) -> bool:
        known = self._schema.objects.get(name)
        if known is None or not known.queryable or (name == ACCOUNT and not known.has("IsPersonAccount")):
            return False
        if not known.has(STAMP):
            # Every object has it. Without it nobody of that kind would ever be found, and nothing would say so.
            raise AnswerNotUnderstood("changes_without_instant")
        return True

    def _read(self, names: Sequence[str], when: str, limit: int = 0) -> dict[str, Rows]:
        """Return rows by object.

        The same calls ask for our rights and our own record: an empty list from a user that doesn't see those is no
        answer.
        """
        texts = [self._statement(self._schema.objects[name], when, limit) for name in names]
        rights = rights_asked(self._schema)
        proof = [*rights, own_record_asked(self._own_id)]
        answers = self._reader.run([*texts, *proof], range(len(texts), len(texts) + len(proof)))
        check_rights(answers[len(texts) : len(texts) + len(rights)])
        check_own_record(answers[-1], self._own_id)
        return dict(zip(names, answers, strict=False))

    def _statement(self, known: ObjectType, when: str, limit: int) -> str:
        names = ["Id", STAMP, *self._rules.fields_of(known)]
        names += [name for name in ("IsPersonAccount", "AccountId") if known.has(name)]
        # All reading is queryAll, which shows the recycle bin as well.
        live = "IsDeleted = false" if known.has("IsDeleted") else ""
        person = "IsPersonAccount = true" if known.name == ACCOUNT else ""
        where = all_of(f"{STAMP} {when}", live, person)
        return select(dict.fromkeys(names), known.name, where, order_by=STAMP if limit else "", limit=limit)

    def _caught_up(self, at: datetime, found: Mapping[str, Rows]) -> datetime:
        now = self._org_clock()
        if now is None:
            now = max((_changed_at(rows[-1]) for rows in found.values() if rows), default=at + self._overlap)
        return now - self._overlap

    def _seen(self, found: Mapping[str, Rows]) -> tuple[ChangedRecord, ...]:
        return tuple(self._one(name, row) for name, rows in found.items() for row in rows)

    def _one(self, name: str, row: Mapping[str, Any]) -> ChangedRecord:
        record_id = str(row["Id"])
        given = [self._spelled(each) for each in carried(self._rules, self._schema.objects[name], row)]
        # A row of the identity graph may hold either form of an id.
        given += [
            Identifier(kind, i) for kind, of in ID_KINDS.items() if of == name for i in (record_id, record_id[:15])
        ]
        record = Record(name, record_id)
        if name == CONTACT and row.get("IsPersonAccount") is True and row.get("AccountId"):
            # Half of a person account: the account is the record that would be erased.
            record = Record(ACCOUNT, str(row["AccountId"]))
        return ChangedRecord(record, tuple(dict.fromkeys(given)), _changed_at(row))

    def _spelled(self, identifier: Identifier) -> Identifier:
        """A phone number in the form that everybody reads alike: only here the org's home region is known."""
        if identifier.kind != PHONE or self._rules.home_region is None:
            return identifier
        try:
            number = phonenumbers.parse(identifier.value, self._rules.home_region)
        except phonenumbers.NumberParseException:
            return identifier
        if number.extension:
            return identifier
        return Identifier(PHONE, phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _changed_at(row: Mapping[str, Any]) -> datetime:
    return _instant(str(row.get(STAMP)))


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise AnswerNotUnderstood("instant") from None
    if found.tzinfo is None:
        raise AnswerNotUnderstood("instant")
    return found


def _literal(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
