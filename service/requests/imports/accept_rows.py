"""Accept some hundred lines of an import in one transaction; a bad line doesn't stop the others.

Decides the verdict on each line. A line with an external reference is recognised by it among the requests of its API
key, another line by its number in the import; a repeated line gives the same request. The import's row is locked while
a set is written, so that two connections under one key, or a cancellation, take turns with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, OperationalError

from service.domain.errors import IdempotencyConflict, ReferenceInUse, Refusal, Sealed
from service.domain.field_problems import FieldProblem
from service.domain.requests.idempotency import is_same_body
from service.domain.requests.imports import ImportState
from service.logs import fault_of
from service.requests.imports.begin import Import, change_import, lock_open_import
from service.requests.imports.store import (
    KnownLine,
    NewRefusal,
    add_accepted,
    delete_refusals,
    known_lines,
    write_refusals,
)
from service.requests.intake.build import TICK, ImportLine, new_request
from service.requests.intake.duplicates import Links, open_requests
from service.requests.intake.validate import (
    CheckedSubmission,
    SealedSubmission,
    Submission,
    check_submission,
    discard_keys,
    seal_submissions,
)
from service.requests.records.insert import (
    STORE_UNAVAILABLE,
    NewRequest,
    NewRow,
    insert_requests,
    is_certainly_not_written,
)
from service.settings import Settings
from service.store.locking import database_now, request_check, server_started_at
from service.store.stores import Stores

log = structlog.get_logger(__name__)

INTERNAL = "internal"
"""The code of a line that a fault of ours keeps out; it is taken when it is sent again after the repair."""
_TRIES = 5  # Another submission may take a reference between our look and our commit.


@dataclass(frozen=True)
class LineRefusal:
    """The reason why a line isn't accepted: a problem's code, and each place with its reason.

    Repeats nothing of the line.
    """

    code: str
    errors: tuple[FieldProblem, ...] = ()


@dataclass(frozen=True)
class Line:
    """A line by its number: its submission, or the reason why it can't be read.

    `places`: the sender's own names of the fields.
    """

    number: int
    content: Submission | LineRefusal = field(repr=False)
    places: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Accepted:
    """The line's request, and the earlier one of the same person that covers it, if there is one."""

    request_id: UUID
    respond_by: datetime
    duplicate_of: UUID | None
    replayed: bool = False


@dataclass(frozen=True)
class Verdict:
    """The verdict on one line."""

    line: int
    result: Accepted | LineRefusal


def accept_lines(stores: Stores, settings: Settings, importing: Import, lines: Sequence[Line]) -> list[Verdict]:
    """Return one committed verdict per line, in the order of the lines.

    The numbers of one call differ from each other. Raises WrongState if the import was cancelled.
    """
    results: dict[int, Accepted | LineRefusal] = {}
    checked: dict[int, CheckedSubmission] = {}
    for line in lines:
        if isinstance(line.content, LineRefusal):
            results[line.number] = line.content
            continue
        try:
            checked[line.number] = check_submission(stores.pepper, settings, line.content)
        except Refusal as refusal:
            results[line.number] = _refused(refusal, line.places)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this line's and not the others'
            results[line.number] = fault(importing, line.number, error)
    writing = _Writing(stores, settings, importing, {line.number: line.places for line in lines})
    results |= writing.results(checked, results)
    return [Verdict(line.number, results[line.number]) for line in lines]


def fault(importing: Import, number: int, error: Exception) -> LineRefusal:
    """Return the verdict on a line that isn't accepted because of an error of ours.

    The error's text may be personal and isn't logged.
    """
    log.error("import_line_failed", import_id=str(importing.id), line=number, **fault_of(error))
    return LineRefusal(INTERNAL)


class _Writing:
    """One set of lines on its way into the store."""

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        importing: Import,
        places: Mapping[int, Mapping[str, str]],
    ) -> None:
        self._stores = stores
        self._settings = settings
        self._import = importing
        self._places = places
        self._checked: Mapping[int, CheckedSubmission] = {}

    def results(
        self, checked: Mapping[int, CheckedSubmission], unreadable: Mapping[int, Accepted | LineRefusal]
    ) -> dict[int, Accepted | LineRefusal]:
        """Write the set and return the result of each line.

        After an unexpected error each half of the set is written, until the line that causes the error is alone. A
        refusal of the whole import and a store that doesn't answer are no line's error: both are raised.
        """
        self._checked = checked
        try:
            return self._written(unreadable)
        except (Refusal, *STORE_UNAVAILABLE):
            raise
        except Exception as error:
            if not checked:
                raise
            numbers = list(checked)
            if len(numbers) == 1:
                refusal = fault(self._import, numbers[0], error)
                self.results({}, {**unreadable, numbers[0]: refusal})
                return {numbers[0]: refusal}
        half = len(numbers) // 2
        results = self.results({number: checked[number] for number in numbers[:half]}, unreadable)
        return results | self.results({number: checked[number] for number in numbers[half:]}, {})

    def _written(self, unreadable: Mapping[int, Accepted | LineRefusal]) -> dict[int, Accepted | LineRefusal]:
        """Write the set.

        A set whose reference another submission took meanwhile is checked and written again.
        """
        with self._stores.engine.begin() as connection:
            known = self._known(connection)
            self._server_started_at = server_started_at(connection)
        fresh = self._fresh(known)
        of_fresh = [self._checked[number] for number in fresh]
        sealed = dict(zip(fresh, seal_submissions(self._stores, of_fresh, self._server_started_at), strict=True))
        request_ids = [each.request_id for each in sealed.values()]
        try:
            results = self._tried(sealed, unreadable)
        except Exception as error:
            if is_certainly_not_written(error):
                discard_keys(self._stores, request_ids)
            raise
        used = {r.request_id for r in results.values() if isinstance(r, Accepted)}
        discard_keys(self._stores, [request_id for request_id in request_ids if request_id not in used])
        return results

    def _tried(
        self, sealed: Mapping[int, SealedSubmission], unreadable: Mapping[int, Accepted | LineRefusal]
    ) -> dict[int, Accepted | LineRefusal]:
        for _ in range(_TRIES - 1):
            try:
                with self._stores.engine.begin() as connection:
                    return self._write(connection, sealed, unreadable)
            except (IntegrityError, OperationalError) as error:
                # 40P01: two imports waited for each other in a circle; this one was broken off by the database.
                met = isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) == "40P01"
                if not met:
                    raise
        with self._stores.engine.begin() as connection:
            return self._write(connection, sealed, unreadable)

    def _known(self, connection: Connection) -> dict[int | str, KnownLine]:
        """Return the requests that these lines may repeat.

        A line without a reference repeats the request of its number, a line with one a request of the same API key.
        """
        references = [c.submission.external_reference for c in self._checked.values()]
        given = [reference for reference in references if reference is not None]
        rows = known_lines(connection, self._import.id, self._import.submitted_by, self._checked, given)
        found: dict[int | str, KnownLine] = {}
        for row in rows:
            name = row.external_reference or row.import_line
            assert name is not None, "a request is found by its reference or by its line"
            found[name] = row
        return found

    def _fresh(self, known: Mapping[int | str, KnownLine]) -> list[int]:
        """Numbers of the lines that no request stands for; of those with one reference, the first."""
        fresh: dict[int | str, int] = {}
        for number, checked in self._checked.items():
            name = checked.submission.external_reference or number
            if name not in known:
                fresh.setdefault(name, number)
        return list(fresh.values())

    def _write(
        self,
        connection: Connection,
        sealed: Mapping[int, SealedSubmission],
        unreadable: Mapping[int, Accepted | LineRefusal],
    ) -> dict[int, Accepted | LineRefusal]:
        importing = lock_open_import(connection, self._import.id)
        known = self._known(connection)
        fresh = [number for number in self._fresh(known) if number in sealed]
        new = self._new_requests(connection, {number: sealed[number] for number in fresh})
        if new:
            insert_requests(connection, list(new.values()), self._server_started_at)
            add_accepted(connection, self._import.id, len(new))
            if importing.state == ImportState.COMPLETED:
                actor = f"key:{self._import.submitted_by}"
                change_import(connection, importing, ImportState.RUNNING, "import_reopened", actor=actor)
            request_check(connection, self._linked_elsewhere(new))
        results = dict(self._judged(known, new))
        self._note_refusals(connection, {**results, **unreadable})
        return results

    def _new_requests(self, connection: Connection, sealed: Mapping[int, SealedSubmission]) -> dict[int, NewRequest]:
        now = database_now(connection)
        links = Links(open_requests(connection, [each.checked for each in sealed.values()], self._import.id))
        return {
            number: new_request(
                self._settings,
                each,
                duplicate_of=links.of(each),
                now=now,
                created_at=now + place * TICK,
                of_import=ImportLine(self._import.id, number),
            )
            for place, (number, each) in enumerate(sealed.items())
        }

    def _linked_elsewhere(self, new: Mapping[int, NewRequest]) -> list[UUID]:
        ours = {request.row.id for request in new.values()}
        linked = (request.row.duplicate_of for request in new.values())
        return [request_id for request_id in linked if request_id is not None and request_id not in ours]

    def _judged(
        self, known: Mapping[int | str, KnownLine], new: Mapping[int, NewRequest]
    ) -> Iterator[tuple[int, Accepted | LineRefusal]]:
        by_reference = {r.row.external_reference: r.row for r in new.values() if r.row.external_reference}
        for number, checked in self._checked.items():
            reference = checked.submission.external_reference
            request = new.get(number)
            if request is not None:
                yield number, _accepted(request.row, replayed=False)
            elif reference in by_reference:
                yield number, self._repeated(number, by_reference[reference])
            else:
                yield number, self._repeated(number, known[reference or number])

    def _repeated(self, number: int, row: NewRow | KnownLine) -> Accepted | LineRefusal:
        checked, places = self._checked[number], self._places[number]
        by_reference = checked.submission.external_reference is not None
        conflict: Refusal = IdempotencyConflict("another_body", field="Idempotency-Key")
        if by_reference:
            conflict = ReferenceInUse("in_use", field="/external_reference")
        if row.import_id != self._import.id:
            return _refused(conflict, places)
        if row.import_fingerprint is None:
            # Without a fingerprint no rule can say whether it is the same person's line.
            return _refused(Sealed("sealed", field=conflict.field), places)
        if not is_same_body(bytes(row.import_fingerprint), checked.fingerprint):
            return _refused(conflict, places)
        return _accepted(row, replayed=True)

    def _note_refusals(self, connection: Connection, results: Mapping[int, Accepted | LineRefusal]) -> None:
        refused = {number: r for number, r in results.items() if isinstance(r, LineRefusal)}
        accepted = [number for number in results if number not in refused]
        if accepted:
            delete_refusals(connection, self._import.id, accepted)
        if refused:
            rows = [
                NewRefusal(n, r.code, json.dumps([_kept(problem) for problem in r.errors])) for n, r in refused.items()
            ]
            write_refusals(connection, self._import.id, rows)


def _accepted(row: NewRow | KnownLine, *, replayed: bool) -> Accepted:
    return Accepted(row.id, row.respond_by, row.duplicate_of, replayed)


def _refused(refusal: Refusal, places: Mapping[str, str]) -> LineRefusal:
    place = refusal.field or ""
    problem = FieldProblem(places.get(place, place), refusal.reason, refusal.allowed, refusal.did_you_mean)
    return LineRefusal(refusal.code, (problem,))


def _kept(problem: FieldProblem) -> dict[str, str]:
    """Without what is allowed: that is the same for every line, and told in the answer."""
    kept = {"field": problem.field, "reason": problem.reason}
    return kept if problem.did_you_mean is None else kept | {"did_you_mean": problem.did_you_mean}
