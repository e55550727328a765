"""Changing and deleting many records in few calls, and reading every row's answer.

Decides how rows travel (200 a collection, 10 runs of one type in it, 5 collections a call) and what a row's refusal
means; not which rows. A call that answers 200 says nothing about its rows.
Source: REST API, sObject Collections: at most 200 ids, mixed types, results in the order asked (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from enum import StrEnum
from typing import Any

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.toolkit.http import field_of
from connectors.salesforce.deletion.deletion_groups import in_queues
from connectors.salesforce.deletion.dependents import Key
from connectors.salesforce.deletion.planning import Change
from connectors.salesforce.org.org import MAX_HEAVY_SUBREQUESTS, Org, Subanswer, Subrequest, part_error
from connectors.salesforce.org.reading import query_all
from connectors.salesforce.org.schema import USER

MAX_ROWS = 200
_MAX_RUNS = 10
Entry = tuple[Key, frozenset[str]]
Ask = Callable[[frozenset[str]], bool]
_Act = tuple[Key, frozenset[str], Mapping[str, Any] | None]  # new values, or None: to be deleted
_Call = list[list[_Act]]


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
    """Writes to one org. `ask` is put the question before each call: may these people's records be touched now?

    `group_of`: people of one group never have two calls at the same time; without it there is one call at a time.
    """

    def __init__(self, org: Org, ask: Ask, group_of: Callable[[frozenset[str]], str] | None = None) -> None:
        self._org = org
        self._ask = ask
        self._group_of = group_of or (lambda owners: "")

    def delete(self, entries: Sequence[Entry], changes: Sequence[Change] = ()) -> dict[Key, Verdict]:
        """Change, then delete in the given order, into the recycle bin where the object has one."""
        return self.delete_and_ask(entries, lambda room: (), changes)[0]

    def delete_and_ask(
        self, entries: Sequence[Entry], ask_in: Callable[[int], Sequence[str]], changes: Sequence[Change] = ()
    ) -> tuple[dict[Key, Verdict], list[Subanswer]]:
        """Delete, and ask in the last call's spare room what `ask_in` says of it; that runs after the deletion."""
        queues = [_calls(queue) for queue in self._queues(entries, changes)]
        if len(queues) > 1:
            return self._side_by_side(queues), []
        verdicts: dict[Key, Verdict] = {}
        rest: list[Subanswer] = []
        for number, parts in enumerate(queues[0], start=1):
            is_last = number == len(queues[0])
            call = self._allowed(parts, verdicts)
            riders = [query_all(text) for text in ask_in(MAX_HEAVY_SUBREQUESTS - len(call))] if is_last else []
            if call or riders:
                answers = self._org.composite([*(_request(part) for part in call), *riders])
                rest = answers[len(call) :]
                _read(call, answers[: len(call)], verdicts)
        return verdicts, rest

    def calls_for(self, entries: Sequence[Entry], changes: Sequence[Change] = ()) -> tuple[int, int]:
        """How many calls that takes, and how many statements the last one has room for."""
        queues = [_calls(queue) for queue in self._queues(entries, changes)]
        last = queues[0][-1:] if len(queues) == 1 else []
        return sum(map(len, queues)), sum(MAX_HEAVY_SUBREQUESTS - len(parts) for parts in last)

    def _queues(self, entries: Sequence[Entry], changes: Sequence[Change]) -> list[list[_Act]]:
        acts = [*((c.key, c.owners, c.values) for c in _users_last(changes)), *((k, o, None) for k, o in entries)]
        return in_queues(acts, lambda act: self._group_of(act[1]), lambda some: len(_calls(some)))

    def change(self, changes: Sequence[Change]) -> dict[Key, Verdict]:
        """Write new values."""
        return self.delete((), changes)

    def _side_by_side(self, queues: Sequence[list[_Call]]) -> dict[Key, Verdict]:
        """One call of each queue at a time. The lease is asked here, by one thread, right before each call."""
        verdicts: dict[Key, Verdict] = {}
        due = [list(reversed(queue)) for queue in queues]
        running: dict[Future[list[Subanswer]], tuple[list[_Call], _Call]] = {}

        def start(queue: list[_Call]) -> None:
            while queue:
                if call := self._allowed(queue.pop(), verdicts):
                    running[pool.submit(self._org.composite, [_request(part) for part in call])] = (queue, call)
                    return

        self._org.ready()
        with ThreadPoolExecutor(max_workers=len(queues), thread_name_prefix="salesforce") as pool:
            for queue in due:
                start(queue)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    queue, call = running.pop(future)
                    _read(call, future.result(), verdicts)
                    start(queue)
        return verdicts

    def _allowed(self, parts: _Call, verdicts: dict[Key, Verdict]) -> _Call:
        """What of a call may be sent now; whatever may not is noted as stopped."""
        allowed = {owners: self._ask(owners) for part in parts for _, owners, _ in part}
        for key, owners, _ in (act for part in parts for act in part):
            if not allowed[owners]:
                verdicts.setdefault(key, Verdict.STOPPED)
        left = [[act for act in part if allowed[act[1]]] for part in parts]
        return [part for part in left if part]


def _users_last(changes: Sequence[Change]) -> list[Change]:
    """Users go in collections of their own: setup objects don't mix with others."""
    return sorted(changes, key=lambda c: (c.key[0] == USER, c.key))


def _calls(acts: Sequence[_Act]) -> list[_Call]:
    """The calls that these acts need, in order."""
    parts = list(_collections(acts))
    return [parts[n : n + MAX_HEAVY_SUBREQUESTS] for n in range(0, len(parts), MAX_HEAVY_SUBREQUESTS)]


def _request(part: Sequence[_Act]) -> Subrequest:
    if part[0][2] is None:
        return Subrequest("DELETE", f"composite/sobjects?ids={','.join(i for (_, i), _, _ in part)}&allOrNone=false")
    records = [{"attributes": {"type": name}, "id": i, **(values or {})} for (name, i), _, values in part]
    return Subrequest("PATCH", "composite/sobjects", {"allOrNone": False, "records": records})


def _read(call: _Call, answers: Sequence[Subanswer], verdicts: dict[Key, Verdict]) -> None:
    for part, answer in zip(call, answers, strict=True):
        # A record that is changed and then deleted: what went wrong counts, not what went right before.
        for key, verdict in _verdicts([key for key, _, _ in part], answer).items():
            if verdicts.get(key, Verdict.DONE) is Verdict.DONE:
                verdicts[key] = verdict


def _collections(acts: Sequence[_Act]) -> Iterator[list[_Act]]:
    """Runs of changes or of deletions, at most 200 rows and ten runs of one type in each."""
    some: list[_Act] = []
    runs = 0
    for act in acts:
        name, last = act[0][0], some[-1][0][0] if some else None
        new_run = name != last
        apart = last is not None and new_run and USER in (name, last)
        apart = apart or (bool(some) and (act[2] is None) != (some[-1][2] is None))
        if some and (len(some) == MAX_ROWS or apart or (new_run and runs == _MAX_RUNS)):
            yield some
            some, runs, new_run = [], 0, True
        runs += new_run
        some.append(act)
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
