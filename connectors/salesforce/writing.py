"""Changing and deleting many records in few calls, and reading every row's answer.

Decides how rows travel (200 a collection, 10 runs of one type in it, 5 collections a call) and what a row's refusal
means; not which rows. A call that answers 200 says nothing about its rows.
Source: REST API, sObject Collections: at most 200 ids, mixed types, results in the order asked (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.toolkit.http import field_of
from connectors.salesforce.expansion import Key
from connectors.salesforce.org import MAX_HEAVY_SUBREQUESTS, Org, Subanswer, Subrequest, part_error
from connectors.salesforce.planning import Change
from connectors.salesforce.reading import query_all
from connectors.salesforce.schema import USER

MAX_ROWS = 200
_MAX_RUNS = 10
Entry = tuple[Key, frozenset[str]]
Ask = Callable[[frozenset[str]], bool]
_Part = tuple[list[Entry], Callable[[Sequence[Key]], Subrequest]]


class Verdict(StrEnum):
    """What became of one row. Those below GONE are no success."""

    DONE = "done"
    GONE = "gone"
    BUSY = "busy"
    BLOCKED = "blocked"
    TOO_LARGE = "too_large"
    LOCKED = "locked"
    VETOED = "vetoed"
    NOT_PERMITTED = "not_permitted"
    REFUSED = "refused"
    STOPPED = "stopped"


# StatusCode of the partner WSDL; meanings from the SOAP API Developer Guide, "Core Data Types" (read 2026-11-22).
_MEANINGS: Mapping[str, Verdict] = {
    "ENTITY_IS_DELETED": Verdict.GONE,
    "INVALID_CROSS_REFERENCE_KEY": Verdict.GONE,
    "UNABLE_TO_LOCK_ROW": Verdict.BUSY,
    "SERVER_UNAVAILABLE": Verdict.BUSY,
    "REQUEST_RUNNING_TOO_LONG": Verdict.BUSY,
    "DELETE_FAILED": Verdict.BLOCKED,
    "DEPENDENCY_EXISTS": Verdict.BLOCKED,
    "DELETE_REQUIRED_ON_CASCADE": Verdict.BLOCKED,
    "DELETE_OPERATION_TOO_LARGE": Verdict.TOO_LARGE,
    "ENTITY_IS_LOCKED": Verdict.LOCKED,
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": Verdict.VETOED,
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": Verdict.VETOED,
    "FIELD_FILTER_VALIDATION_EXCEPTION": Verdict.VETOED,
    "DELETE_NOT_ALLOWED": Verdict.NOT_PERMITTED,
    "INSUFFICIENT_ACCESS_OR_READONLY": Verdict.NOT_PERMITTED,
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": Verdict.NOT_PERMITTED,
}


def verdict_of(code: str) -> Verdict:
    """What a row's status code means; an unknown one is a refusal, never a success."""
    return _MEANINGS.get(code, Verdict.REFUSED)


class Writer:
    """Writes to one org. `ask` is put the question before each call: may these people's records be touched now?"""

    def __init__(self, org: Org, ask: Ask) -> None:
        self._org = org
        self._ask = ask
        self._answers: list[Subanswer] = []

    def delete(self, entries: Sequence[Entry], changes: Sequence[Change] = ()) -> dict[Key, Verdict]:
        """Change, then delete in the given order, into the recycle bin where the object has one."""
        return self._run([*self._changes(changes), *self._deletions(entries)], ())

    def delete_and_ask(
        self, entries: Sequence[Entry], statements: Sequence[str]
    ) -> tuple[dict[Key, Verdict], list[Subanswer]]:
        """Delete, and in the last call's spare room ask the first of these; they run after the deletion."""
        self._answers = []
        verdicts = self._run(self._deletions(entries), statements)
        return verdicts, self._answers

    def change(self, changes: Sequence[Change]) -> dict[Key, Verdict]:
        """Write new values."""
        return self._run(self._changes(changes), ())

    @staticmethod
    def _deletions(entries: Sequence[Entry]) -> list[_Part]:
        return [(chunk, _deletion) for chunk in _collections(entries)]

    @staticmethod
    def _changes(changes: Sequence[Change]) -> list[_Part]:
        """Users go in collections of their own: setup objects don't mix with others."""
        values = {c.key: c.values for c in changes}
        ordered = sorted(changes, key=lambda c: (c.key[0] == USER, c.key))

        def patch(keys: Sequence[Key]) -> Subrequest:
            records = [{"attributes": {"type": n}, "id": i, **values[(n, i)]} for n, i in keys]
            return Subrequest("PATCH", "composite/sobjects", {"allOrNone": False, "records": records})

        return [(chunk, patch) for chunk in _collections([(c.key, c.owners) for c in ordered])]

    def _run(self, chunks: Sequence[_Part], statements: Sequence[str]) -> dict[Key, Verdict]:
        verdicts: dict[Key, Verdict] = {}
        for start in range(0, len(chunks), MAX_HEAVY_SUBREQUESTS):
            some = chunks[start : start + MAX_HEAVY_SUBREQUESTS]
            allowed = {owners: self._ask(owners) for chunk, _ in some for _, owners in chunk}
            parts: list[list[Key]] = []
            requests: list[Subrequest] = []
            for chunk, build in some:
                stopped = {key: Verdict.STOPPED for key, owners in chunk if not allowed[owners]}
                verdicts |= {key: v for key, v in stopped.items() if key not in verdicts}
                if keys := [key for key, owners in chunk if allowed[owners]]:
                    parts.append(keys)
                    requests.append(build(keys))
            if not parts:
                continue
            if start + MAX_HEAVY_SUBREQUESTS >= len(chunks):
                room = MAX_HEAVY_SUBREQUESTS - len(requests)
                requests += [query_all(text) for text in statements[:room]]
            answers = self._org.composite(requests)
            for keys, answer in zip(parts, answers, strict=False):
                # A record that is changed and then deleted: what went wrong counts, not what went right before.
                for key, verdict in _verdicts(keys, answer).items():
                    if verdicts.get(key, Verdict.DONE) is Verdict.DONE:
                        verdicts[key] = verdict
            self._answers = answers[len(parts) :]
        return verdicts


def _deletion(keys: Sequence[Key]) -> Subrequest:
    return Subrequest("DELETE", f"composite/sobjects?ids={','.join(i for _, i in keys)}&allOrNone=false")


def _collections(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    some: list[Entry] = []
    runs = 0
    for entry in entries:
        name, last = entry[0][0], some[-1][0][0] if some else None
        new_run = name != last
        apart = last is not None and new_run and USER in (name, last)
        if some and (len(some) == MAX_ROWS or apart or (new_run and runs == _MAX_RUNS)):
            yield some
            some, runs, new_run = [], 0, True
        runs += new_run
        some.append(entry)
    if some:
        yield some


def _verdicts(keys: Sequence[Key], answer: Subanswer) -> dict[Key, Verdict]:
    if answer.status != 200:
        raise part_error(answer)
    rows: Any = answer.body
    if not isinstance(rows, list) or len(rows) != len(keys):
        raise AnswerNotUnderstood("rows_of_collection", effect_unknown=True)
    found: dict[Key, Verdict] = {}
    for key, row in zip(keys, rows, strict=True):
        if row.get("id") not in (key[1], None):
            raise AnswerNotUnderstood("rows_of_collection", effect_unknown=True)
        if field_of(row, "success", bool):
            found[key] = Verdict.DONE
            continue
        codes = [field_of(error, "statusCode", str) for error in field_of(row, "errors", list)]
        found[key] = verdict_of(codes[0]) if codes else Verdict.REFUSED
    return found
