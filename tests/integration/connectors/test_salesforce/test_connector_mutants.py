"""Wrong versions of the connector, each the mistake of a real one: the connector's code is patched, a whole run is made
against the stand-in, and the named assertion must fail.

`SCENARIOS` say what must never be found after a run; without a mutant they find nothing (the control).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote as url_quote

import pytest

from connectors.base import operations
from connectors.base.errors import TemporarilyUnavailable
from connectors.base.runner import Outcome
from connectors.base.values import Answer, AnswerKind
from connectors.salesforce.deletion import dependents, states, writing
from connectors.salesforce.deletion.bulk import HardDelete
from connectors.salesforce.deletion.call_estimate import Effects
from connectors.salesforce.deletion.dependents import DependentSearch
from connectors.salesforce.deletion.planning import Plan, Planner
from connectors.salesforce.deletion.progress import Progress
from connectors.salesforce.deletion.root_search import RootSearch
from connectors.salesforce.deletion.states import State
from connectors.salesforce.deletion.writing import Verdict
from connectors.salesforce.erasure import ErasurePass
from connectors.salesforce.org import reading
from connectors.salesforce.org.org import Org, Subanswer, Subrequest
from connectors.salesforce.org.schema import PEOPLE
from connectors.salesforce.org.visibility import Control
from connectors.salesforce.sandbox.server import SalesforceSandbox
from connectors.salesforce.sandbox.wire import RowError
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.sandbox.faults import Fault, FaultKind

from .connecting import serving
from .gods_view import GodsView
from .persevering import Perseverance
from .world import Person, World, hard_world, ordinary_world, tied_world

Violations = dict[str, list[str]]
_DELETE = "composite/sobjects?ids="


# Scenarios: each answers the violations that it found, by word.


def _hard_person() -> Violations:
    """Ada's run: small pages, so that every list and every nested list has more than one."""
    with serving(hard_world(tasks=70), page_rows=40, nested_page_rows=7) as org:
        view = GodsView(org.sandbox, org.world.people["ada"])
        line = org.erase("ada", wait=1).lines["ada"]
        return view.violations(line) | ({} if line.outcome is Outcome.RETAINED else {"outcome": [line.outcome]})


def _healthy_run() -> Violations:
    """Nothing is wrong in the org: it refuses no row of a right version."""
    with serving(ordinary_world(2)) as org:
        view, refused = GodsView(org.sandbox, org.world.people["p0"]), _refusals(org.sandbox)
        return view.violations(org.erase("p0", wait=2).lines["p0"]) | ({"refused": refused} if refused else {})


def _vetoed_file() -> Violations:
    """A trigger keeps one file: the evidence must say which, and why."""
    with serving(ordinary_world(1)) as org:
        org.sandbox.options["vetoes"] = {org.sandbox.id_of("p0-file0"): "FIELD_CUSTOM_VALIDATION_EXCEPTION"}
        done = org.erase("p0", wait=1)
        return (
            {} if done.left("p0") >= {("ContentDocument", "vetoed")} else {"reason": sorted(map(str, done.left("p0")))}
        )


def _deletion_times_out() -> Violations:
    """The first deletion is never answered, and was never done: nobody is called erased in that pass."""
    with serving(ordinary_world(1)) as org:
        batch = Perseverance(org, "p0").frozen()
        org.sandbox.faults = [Fault(FaultKind.DROP_BEFORE, skip=_first_deletion(ordinary_world(1), "p0"))]
        answer = operations.erase(org.connect(), batch, SuiteLease())["p0"]
        claims = isinstance(answer, Answer) and answer.kind in (AnswerKind.ERASED, AnswerKind.ALREADY_ABSENT)
        return {"claim": [answer.kind.value]} if claims and isinstance(answer, Answer) else {}


def _deletion_is_done_unanswered() -> Violations:
    """The first deletion was done, but its answer was lost, and another process goes on."""
    with serving(hard_world(tasks=1)) as org:
        view = GodsView(org.sandbox, org.world.people["ada"])
        run = Perseverance(org, "ada")
        batch = run.frozen()
        org.sandbox.faults = [Fault(FaultKind.DROP_AFTER, skip=_first_deletion(hard_world(tasks=1), "ada"))]
        return view.violations(run.through(batch))


def _job_is_opened_unanswered() -> Violations:
    """A job was opened, but the answer was lost: no second one for the same records."""
    with serving(ordinary_world(1), permissions={"bulk_hard_delete": True}, job_seconds=0.3) as org:
        org.sandbox.faults = [Fault(FaultKind.DROP_AFTER, methods=("POST",), path=r"/jobs/ingest$")]
        Perseverance(org, "p0", {"bulk_from": 6}).through()
        opened = [(job["object"], str(job["rows"])) for job in org.sandbox.state["jobs"].values()]
        return {"jobs": [name for name, _ in opened]} if len(set(opened)) != len(opened) else {}


def _one_blind_look() -> Violations:
    """Each look of an erasure goes blind for once; what nothing but a relation led to must not be forgotten."""
    found: Violations = {}
    for call in range(1, 12):
        with serving(tied_world()) as org:
            view, run = GodsView(org.sandbox, org.world.people["ada"]), Perseverance(org, "ada")
            batch = run.frozen()
            org.sandbox.journal.clear()
            org.sandbox.faults = [Fault(FaultKind.BLIND, path="/composite$", skip=call)]
            found |= view.violations(run.through(batch))
            if not any(each["fault"] for each in org.sandbox.journal):
                break
    return found


def _household() -> Violations:
    """The phone of the household's account is one of hers, and stays there: an account is no person."""
    world = World()
    world.add(None, "Account", "home", Name="A household", Phone="+15555550155")
    world.add(None, "Contact", "bob", LastName="B", AccountId="@home")
    world.people["ada"] = Person("ada", ("ada@example.test",), ("+15555550155",))
    world.add("ada", "Contact", "ada", LastName="{c}", Email="ada@example.test", AccountId="@home")
    with serving(world) as org:
        view = GodsView(org.sandbox, org.world.people["ada"])
        found = view.violations(org.erase("ada", wait=1).lines["ada"])
        return {word: told for word, told in found.items() if word == "bystanders"}


def _one_account() -> Violations:
    """Two people under one account, at an org that takes a moment for each call."""
    world = ordinary_world(2)
    for record in world.records:
        if record["fields"].get("AccountId") == "@p1-account":
            record["fields"]["AccountId"] = "@p0-account"
    with serving(world) as org:
        org.sandbox.latency_seconds = 0.05
        refused = _refusals(org.sandbox)
        org.erase("p0", "p1", wait=5)
        return {"refused": refused} if refused else {}


SCENARIOS: Sequence[Callable[[], Violations]] = (
    _hard_person,
    _healthy_run,
    _vetoed_file,
    _deletion_times_out,
    _deletion_is_done_unanswered,
    _job_is_opened_unanswered,
    _one_blind_look,
    _household,
    _one_account,
)


def _refusals(sandbox: SalesforceSandbox) -> list[str]:
    """Codes of the rows that the org refuses from now on."""
    codes: list[str] = []
    delete, purge = sandbox.delete_row, sandbox._purge

    def noting(value: Any, *, hard: bool = False) -> Any:
        try:
            return delete(value, hard=hard)
        except RowError as error:
            codes.append(error.code)
            raise

    def noting_purge(value: str) -> RowError | None:
        error = purge(value)
        codes.extend([error.code] if error is not None else [])
        return error

    sandbox.__dict__.update(delete_row=noting, _purge=noting_purge)
    return codes


def _first_deletion(world: World, ref: str) -> int:
    """Which call of an erasure is the first that deletes, seen in a world of its own."""
    with serving(world) as org:
        batch = Perseverance(org, ref).frozen()
        org.sandbox.journal.clear()
        operations.erase(org.connect(), batch, SuiteLease())
        return next(n for n, call in enumerate(org.sandbox.journal) if '"DELETE"' in call["body"])


# Mutants: each patches the connector.

Patch = pytest.MonkeyPatch
_composite = Org.composite


def _asks_query(patch: Patch) -> None:
    def composite(org: Org, parts: Sequence[Subrequest]) -> list[Subanswer]:
        return _composite(org, [replace(p, path=p.path.replace("queryAll?", "query?")) for p in parts])

    patch.setattr(Org, "composite", composite)


def _ignores_nested_pages(patch: Patch) -> None:
    def composite(org: Org, parts: Sequence[Subrequest]) -> list[Subanswer]:
        answers = _composite(org, parts)
        for answer in answers:
            for row in answer.body.get("records", ()) if isinstance(answer.body, dict) else ():
                _close_nested(row)
        return answers

    patch.setattr(Org, "composite", composite)


def _close_nested(row: dict[str, Any]) -> None:
    for value in row.values():
        if isinstance(value, dict) and "records" in value:
            value["done"] = True
            for below in value["records"]:
                _close_nested(below)


def _skips_unnamed_relations(patch: Patch) -> None:
    whole = DependentSearch.usable
    patch.setattr(DependentSearch, "usable", lambda self, parent: [r for r in whole(self, parent) if r.name])


def _deletes_contacts_first(patch: Patch) -> None:
    whole = ErasurePass._carry_out

    def carry_out(self: ErasurePass, plan: Plan, effects: Effects) -> None:
        self._note(self._writer.delete(self._due_roots(plan)))
        whole(self, plan, effects)

    patch.setattr(ErasurePass, "_carry_out", carry_out)


def _takes_200_for_success(patch: Patch) -> None:
    patch.setattr(writing, "_verdicts", lambda keys, answer: dict.fromkeys(keys, Verdict.DONE))


def _forgets_files(patch: Patch) -> None:
    patch.setattr(dependents, "_UP", {k: v for k, v in dependents._UP.items() if v[1] != dependents.DOCUMENT})


def _purges_what_went_along(patch: Patch) -> None:
    whole = ErasurePass._purge

    def purge(self: ErasurePass, entries: Sequence[Any]) -> None:
        along = [(key, frozenset({ref})) for ref in self._people for key in self._progress.of(ref).along]
        self._states |= dict.fromkeys((key for key, _ in along), State.BINNED)
        whole(self, [*entries, *along])

    patch.setattr(ErasurePass, "_purge", purge)


def _assumes_that_it_was_done(patch: Patch) -> None:
    whole = ErasurePass._carry_out

    def carry_out(self: ErasurePass, plan: Plan, effects: Effects) -> None:
        try:
            whole(self, plan, effects)
        except TemporarilyUnavailable:
            return

    patch.setattr(ErasurePass, "_carry_out", carry_out)


def _assumes_that_nothing_was_done(patch: Patch) -> None:
    patch.setattr(Progress, "load", classmethod(lambda cls, token: cls()))


def _assumes_that_no_job_was_opened(patch: Patch) -> None:
    patch.setattr(HardDelete, "find", lambda self, job: None)


def believes_every_empty_answer(patch: Patch) -> None:
    patch.setattr(reading, "shows", lambda answers, sure: True)
    patch.setattr(states, "shows", lambda answers, sure: True)
    patch.setattr(Control, "is_shown", lambda self, rows: True)


def _deletes_shared_files(patch: Patch) -> None:
    patch.setattr(Planner, "_is_sole_document", lambda self, row: True)


def _deletes_shared_activities(patch: Patch) -> None:
    patch.setattr(Planner, "_is_shared", lambda self, row: False)


def _deletes_households(patch: Patch) -> None:
    only = url_quote(" AND IsPersonAccount = true", safe="")

    def composite(org: Org, parts: Sequence[Subrequest]) -> list[Subanswer]:
        return _composite(org, [replace(p, path=p.path.replace(only, "")) for p in parts])

    patch.setattr(Org, "composite", composite)
    patch.setattr(RootSearch, "is_person", lambda self, name, row: name in PEOPLE)


def _deletes_side_by_side(patch: Patch) -> None:
    """The ids of each deletion go in two calls at the same time."""

    def composite(org: Org, parts: Sequence[Subrequest]) -> list[Subanswer]:
        if not any(_DELETE in p.path for p in parts):
            return _composite(org, parts)
        halves = [[_half(p, which) for p in parts if which == 0 or _DELETE in p.path] for which in (0, 1)]
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(lambda half: _composite(org, half), halves)
        others = iter(second)
        return [
            Subanswer(a.status, [*a.body, *next(others).body]) if _DELETE in p.path else a
            for p, a in zip(parts, first, strict=True)
        ]

    patch.setattr(Org, "composite", composite)


def _half(part: Subrequest, which: int) -> Subrequest:
    head, found, tail = part.path.partition(_DELETE)
    if not found:
        return part
    ids, _, rest = tail.partition("&")
    some = ids.split(",")
    middle = len(some) // 2
    return replace(part, path=f"{head}{_DELETE}{','.join(some[middle:] if which else some[:middle])}&{rest}")


@dataclass(frozen=True)
class Mutant:
    """A wrong version, the run in which it shows, and the assertion that fails then."""

    patch: Callable[[Patch], None]
    scenario: Callable[[], Violations]
    caught_by: str


MUTANTS: Mapping[str, Mutant] = {
    "query_instead_of_query_all": Mutant(_asks_query, _hard_person, "residue"),
    "nested_pages_ignored": Mutant(_ignores_nested_pages, _hard_person, "counts"),
    "unnamed_relations_skipped": Mutant(_skips_unnamed_relations, _hard_person, "residue"),
    "contact_before_case": Mutant(_deletes_contacts_first, _healthy_run, "refused"),
    "200_taken_as_success": Mutant(_takes_200_for_success, _vetoed_file, "reason"),
    "files_forgotten": Mutant(_forgets_files, _hard_person, "residue"),
    "cascaded_ids_purged": Mutant(_purges_what_went_along, _healthy_run, "refused"),
    "timeout_assumed_done": Mutant(_assumes_that_it_was_done, _deletion_times_out, "claim"),
    "timeout_assumed_not_done": Mutant(_assumes_that_nothing_was_done, _deletion_is_done_unanswered, "counts"),
    "lost_job_assumed_not_opened": Mutant(_assumes_that_no_job_was_opened, _job_is_opened_unanswered, "jobs"),
    "empty_answers_believed": Mutant(believes_every_empty_answer, _one_blind_look, "residue"),
    "shared_file_deleted": Mutant(_deletes_shared_files, _hard_person, "bystanders"),
    "shared_activity_deleted": Mutant(_deletes_shared_activities, _hard_person, "bystanders"),
    "household_deleted": Mutant(_deletes_households, _household, "bystanders"),
    "parallel_under_one_parent": Mutant(_deletes_side_by_side, _one_account, "refused"),
}


# Run with every test run; all by `make chaos`.
_QUICK = {"cascaded_ids_purged", "empty_answers_believed", "timeout_assumed_done", "household_deleted"}


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__.strip("_"))
def test_the_right_version_violates_nothing(scenario: Callable[[], Violations]) -> None:
    assert scenario() == {}


@pytest.mark.parametrize(
    "name", [name if name in _QUICK else pytest.param(name, marks=pytest.mark.long) for name in MUTANTS]
)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutant.patch(monkeypatch)
    found = mutant.scenario()
    assert mutant.caught_by in found, f"not caught: {found}"
