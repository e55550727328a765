"""One pass of `erase` over a batch: look anew, plan, untie, delete dependents, then roots, look, purge.

Every pass is decided by a fresh look plus the saved progress, so it may die anywhere and the next one goes on. Decides
order and answers; the rows' fates are planned in planning.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from connectors.base.errors import ConnectorError, RequestRefused, TemporarilyUnavailable
from connectors.base.interface import Lease
from connectors.base.kit.progress import ResumeToken
from connectors.base.toolkit.counting import unreported
from connectors.base.values import Answer, Batch, Left, Preview
from connectors.salesforce.deletion.call_estimate import CallCount, Effects
from connectors.salesforce.deletion.dependents import Key
from connectors.salesforce.deletion.field_history import histories_below
from connectors.salesforce.deletion.hard_deletion import JobDeletion
from connectors.salesforce.deletion.planning import Change, Plan, plan_hash
from connectors.salesforce.deletion.preparation import Person, Preparation
from connectors.salesforce.deletion.progress import Progress
from connectors.salesforce.deletion.purging import Purger
from connectors.salesforce.deletion.root_search import RootSearch
from connectors.salesforce.deletion.states import State, StateQuery
from connectors.salesforce.deletion.writing import Entry, Verdict, Writer
from connectors.salesforce.org.org import Org
from connectors.salesforce.org.reading import Reader
from connectors.salesforce.org.schema import USER, Schema
from connectors.salesforce.policy import Action, SalesforcePolicy

PATIENCE_WITH_REFUSALS = 2


@dataclass(frozen=True)
class Waits:
    """How long to wait for what."""

    poll_every: timedelta
    until_cleared: timedelta  # purged rows are still shown that long
    in_bin: timedelta


class ErasurePass:
    """One pass; build it anew for each."""

    def __init__(
        self,
        org: Org,
        schema: Schema,
        policy: SalesforcePolicy,
        search: RootSearch,
        reader: Reader,
        waits: Waits,
        batch: Batch,
        lease: Lease,
    ) -> None:
        self._org = org
        self._schema = schema
        self._policy = policy
        self._search = search
        self._waits = waits
        self._batch = batch
        self._lease = lease
        self._reader = reader
        self._token = ResumeToken(lease)
        self._progress = self._token.read(Progress.parse) or Progress()
        self._ready = Preparation(schema, policy, search, self._reader, self._progress)
        self._people = self._ready.people
        self._writer = Writer(org, self._may, self._ready.group_of)
        self._purger = Purger(org, self._may)
        self._jobs = JobDeletion(org, schema, policy, self._progress, self._save, self._may, waits.poll_every)
        self._states: dict[Key, State] = {}
        self._held: set[Key] = set()  # roots that had to wait for what couldn't be deleted
        self.answers: dict[str, Answer | ConnectorError] = {}

    def run(self) -> dict[str, Answer | ConnectorError]:
        """Carry everybody as far as the vendor goes, and answer for each."""
        refused = self._jobs.look()
        if refused is None:
            self.answers = {s.ref: self._later(self._waits.poll_every) for s in self._batch.subjects}
            return self.answers
        self._ready.look(self._batch)
        self.answers |= self._ready.set_aside
        self._note(refused)
        plan = self._ready.plan()
        effects = self._effects(plan)
        if self._is_another_plan(plan, effects):
            return self.answers | {ref: RequestRefused("plan_changed") for ref in self._people}
        self._save()
        if self._people:
            self._carry_out(plan, effects)
        self._conclude()
        return self.answers

    def _is_another_plan(self, plan: Plan, effects: Effects) -> bool:
        """True if somebody asked for a certain plan and this one, of a first pass, isn't it."""
        begun = any(self._progress.of(ref).has_begun for ref in self._people if self._progress.is_resumed)
        wanted = self._policy.plan_hash
        return wanted is not None and not begun and wanted != plan_hash(plan, effects.changes, self._due_roots(plan))

    def foresee(self) -> Preview:
        """What `run` would do now. Looks only."""
        before = self._org.session.calls
        self._ready.look(self._batch)
        plan = self._ready.plan()
        effects, roots = self._effects(plan), self._due_roots(plan)
        reading = self._org.session.calls - before
        purged = self._policy.purge != "none"
        calls = {"look": reading} | CallCount(self._writer, self._jobs, self._schema).of(effects, roots, purges=purged)
        calls["confirm"] = self._search.calls_to_confirm(self._batch.subjects)
        return Preview(
            {ref: self._progress.of(ref).counts() for ref in self._people},
            {ref: person.left + self._progress.of(ref).left() for ref, person in self._people.items()}
            | {ref: answer.left for ref, answer in self._ready.set_aside.items()},
            {name: count for name, count in calls.items() if count},
            plan_hash(plan, effects.changes, roots),
        )

    # The effects

    def _effects(self, plan: Plan) -> Effects:
        """What is due in this pass, less what lies in the recycle bin already."""
        binned = {key for key, row in self._ready.rows.items() if row.is_deleted}
        binned |= {key for key, state in self._ready.known.items() if state is State.BINNED}
        dependents = tuple(entry for entry in plan.explicit if entry[0] not in binned)
        changes = (*plan.changes, *self._ready.root_changes())
        return Effects(changes, dependents, self._look_below(plan, dependents))

    def _carry_out(self, plan: Plan, effects: Effects) -> None:
        for change in effects.changes:
            for ref in change.owners & self._people.keys():
                self._progress.of(ref).changed.add(change.key)
        look = effects.look
        if not self._delete(effects.dependents, effects.changes, look, before_roots=True):
            return
        self._delete_histories(effects)
        if self._jobs.deleted:
            # Jobs take their time, and what was made meanwhile could be found by nothing once its root is gone.
            for ref in self._ready.news(look):
                self._people[ref].has_news = True
        roots = self._due_roots(plan)
        in_bin = self._ready.binned_roots()
        if not self._delete([e for e in roots if e[0] not in in_bin], (), look, before_roots=False):
            return
        self._states = look.states(self._reader)
        self._settle([*plan.explicit, *roots])
        held = {
            k for p in self._people.values() for k in p.snapshot.roots if k in p.planned and self._ready.is_going(k)
        }
        self._held = held - in_bin - {key for key, _ in roots}
        self._purge([*plan.explicit, *roots])

    def _delete_histories(self, effects: Effects) -> None:
        """What was written over stands in the field history of the record that stays: gone, where we may delete it."""
        owners = {
            change.key: change.owners
            for change in effects.changes
            if self._policy.rule(change.key[0]).action is Action.ANONYMISE
        }
        entries = [
            ((relation.child, str(row["Id"])), owners[parent])
            for relation, rows in histories_below(self._schema, self._reader, owners)
            for row in rows
            if (parent := (relation.parent, str(row[relation.field]))) in owners
        ]
        for key, refs in entries:
            for ref in refs & self._people.keys():
                self._progress.of(ref).explicit.add(key)
        if entries:
            self._save()
            self._note(self._writer.delete(entries))

    def _look_below(self, plan: Plan, dependents: Sequence[Entry]) -> StateQuery:
        """Whatever hung on the roots, looked for by id: what went along with a parent tells nobody itself. The roots'
        own rows answer; the purge and the confirming look find out whether they told the truth.

        What hangs on nothing but dependents is looked for as soon as those are deleted.
        """
        # A record that was frozen for a value in it and goes along with its parent is no root: it stays if that stays.
        roots = {key for p in self._people.values() for key in p.planned - plan.along.keys()} | self._ready.anchors
        below = {k for ref in self._people for k in self._progress.of(ref).all_ids} - roots
        with_roots = {key[0] for key in plan.along if self._goes_with_a_root(key, plan, roots)}
        binned = [key for key, _ in dependents if self._schema.objects[key[0]].has_bin]
        going = Counter(name for (name, _), _ in dependents)
        binned = [key for key in binned if not self._jobs.suits(key[0], going[key[0]])]
        return StateQuery(below, self._schema, later=with_roots, only_live=True, binned=binned)

    def _goes_with_a_root(self, key: Key, plan: Plan, roots: Collection[Key]) -> bool:
        """True if it goes along with a root, or with something that does."""
        seen, due = {key}, [key]
        while due:
            row = self._ready.rows.get(due.pop())
            above = {parent for _, parent in row.parents} if row is not None else set()
            if not above.isdisjoint(roots):
                return True
            new = (above & plan.along.keys()) - seen
            seen |= new
            due += new
        return False

    def _settle(self, entries: Sequence[Entry]) -> None:
        """What a call of its own deleted and no look shows alive lies in the bin, unless it went by a job."""
        failed = {k for p in self._people.values() for k in p.failures}
        for key, _ in entries:
            if key in failed and key not in self._states:
                self._states[key] = State.THERE
            elif self._states.get(key) is not State.THERE and key not in self._jobs.deleted:
                self._states[key] = State.BINNED

    def _due_roots(self, plan: Plan) -> list[Entry]:
        """Roots of everybody from whom nothing that leads through them is left. Leads first, Individuals last."""
        found: list[Entry] = []
        for ref, person in self._people.items():
            if person.failures or person.is_stopped or person.has_news or plan.left.get(ref):
                continue
            for key in person.snapshot.roots:
                if key in person.planned and self._ready.is_going(key) and key not in plan.blocked_roots:
                    found.append((key, frozenset({ref})))
        order = ("Lead", "Contact", "Account", "Individual")
        return sorted(found, key=lambda e: (order.index(e[0][0]), e[0][1]))

    def _delete(
        self, entries: Sequence[Entry], changes: Sequence[Change], look: StateQuery, *, before_roots: bool
    ) -> bool:
        """Delete in order: objects with very many records by jobs, the others by collections. False: a job runs.

        What room the last call leaves goes to the look.
        """
        by_object: dict[str, list[Entry]] = {}
        for entry in entries:
            by_object.setdefault(entry[0][0], []).append(entry)
        waiting: list[Entry] = []
        for name, some in by_object.items():
            if not self._jobs.suits(name, len(some)):
                waiting += some
                continue
            self._note(self._writer.delete(waiting, changes))
            waiting, changes = [], ()
            done = self._jobs.run(name, some)
            self._note(done.verdicts)
            if done.goes_on:
                for ref in list(self._people):
                    self._end(ref, self._later(self._waits.poll_every))
                return False
            waiting += done.unused
        control = self._reader.control.statement
        verdicts, answers = self._writer.delete_and_ask(
            waiting, lambda room: look.riders(room, control, only_early=before_roots), changes
        )
        self._note(verdicts)
        look.answered(self._reader, answers)
        return True

    def _purge(self, entries: Sequence[Entry]) -> None:
        """Whatever was deleted by a call of its own and has a recycle bin."""
        if self._policy.purge == "none":
            return
        done = {k for ref in self._people for k in self._progress.of(ref).purged}
        failed = {k for p in self._people.values() for k in p.failures} | self._jobs.deleted
        due = dict.fromkeys(
            (key, owners)
            for key, owners in entries
            if self._states.get(key) is State.BINNED
            and self._schema.objects[key[0]].has_bin
            and key not in done | failed
            and owners <= self._people.keys()
        )
        purged = self._purger.purge(list(due))
        for key, owners in due:
            for ref in owners if key in purged else ():
                self._progress.of(ref).purged.add(key)
        # Refused: it went along with a parent and was purged with it, or it is purged already. The bin itself knows.
        refused = [key for key, _ in due if key not in purged] if self._purger.is_permitted else []
        self._states |= StateQuery(refused, self._schema).states(self._reader)
        self._save()

    # The answers

    def _conclude(self) -> None:
        for ref, person in list(self._people.items()):
            self._end(ref, self._answer(ref, person, self._states))
        self._save()

    def _answer(self, ref: str, person: Person, states: Mapping[Key, State]) -> Answer | ConnectorError:
        progress = self._progress.of(ref)
        if person.is_stopped:
            return TemporarilyUnavailable("stopped")
        if person.has_news:
            return TemporarilyUnavailable("new_records_meanwhile", retry_after_seconds=0)
        there = {k for k in progress.all_ids if states.get(k) is State.THERE}
        failures = {k: v for k, v in person.failures.items() if k in there or k[0] == USER or k not in states}
        if any(v is Verdict.BUSY for v in failures.values()):
            return TemporarilyUnavailable("row_locked", retry_after_seconds=self._waits.poll_every.total_seconds())
        if Verdict.TOO_LARGE in failures.values() and not progress.all_explicit:
            progress.all_explicit = True
            return TemporarilyUnavailable("cascade_too_large", retry_after_seconds=0)
        left = person.left + tuple(Left(*key, verdict.value) for key, verdict in sorted(failures.items()))
        retriable = (set(failures.values()) <= {Verdict.BLOCKED}) and bool(failures or there)
        if retriable and progress.refusals < PATIENCE_WITH_REFUSALS:
            progress.refusals += 1
            return TemporarilyUnavailable("not_deleted", retry_after_seconds=self._waits.poll_every.total_seconds())
        left += tuple(Left(*key, "still_there") for key in sorted(there) if key not in failures)
        named = {(each.object, each.id) for each in left}
        held = self._held & person.planned if named else set()
        left += tuple(Left(*key, "held_by_what_stays") for key in sorted(held - named))
        new = person.snapshot.without(person.planned | progress.all_ids | progress.changed | set(progress.kept))
        counts = unreported(
            progress.counts(there | failures.keys() | held), progress.before, person.subject.already_reported
        )
        if left or not new.is_empty:
            left += tuple(Left(*key, "not_in_plan") for key in sorted({*new.roots, *new.copies}))
            found = None if new.is_empty else self._search.located(person.subject, new)
            reason = None if found is not None else left[0].reason
            return Answer.partial(left, records=counts, found=found, reason=reason)
        return self._finished(ref, states, counts)

    def _finished(self, ref: str, states: Mapping[Key, State], counts: Mapping[str, int]) -> Answer:
        progress = self._progress.of(ref)
        # A purge takes all records below along; queryAll may show them for a while, and confirm sees that.
        unpurged = {k for k in progress.explicit - progress.purged if states.get(k) is State.BINNED}
        unpurged = {k for k in unpurged if self._schema.objects[k[0]].has_bin}
        if unpurged:
            wait = self._waits.until_cleared if self._can_purge() else self._waits.in_bin
            left = tuple(Left(*key, "purge_pending") for key in sorted(unpurged))
            return replace(self._later(wait), records=dict(counts), left=left + progress.left())
        if progress.kept:
            reason = sorted(set(progress.kept.values()))[0]
            return Answer.retained(reason, left=progress.left(), records=counts)
        return Answer.erased(counts) if progress.has_begun else Answer.already_absent()

    def _can_purge(self) -> bool:
        return self._policy.purge != "none" and self._purger.is_permitted

    def _later(self, wait: timedelta) -> Answer:
        return Answer.accepted(datetime.now(UTC) + wait, resumes=True)

    # Bookkeeping

    def _may(self, owners: frozenset[str]) -> bool:
        """True if everybody whose record it is may be worked on now; a stopped person stays stopped in this pass."""
        for ref in sorted(owners):
            person = self._people.get(ref)
            if person is None or person.is_stopped:
                return False
            if not self._lease.may_proceed(ref):
                person.is_stopped = True
                return False
        return True

    def _note(self, verdicts: Mapping[Key, Verdict]) -> None:
        owners = {ref: self._progress.of(ref) for ref in self._people}
        for key, verdict in verdicts.items():
            if verdict is Verdict.GONE and not self._progress.is_resumed:
                # Gone before this plan touched anything: the answer to an earlier one has told so, if there was one.
                for ref in owners:
                    if self._people[ref].subject.already_reported and key in owners[ref].all_ids:
                        owners[ref].told.add(key)
            if verdict in (Verdict.DONE, Verdict.GONE, Verdict.STOPPED):
                continue
            for ref, progress in owners.items():
                if key in progress.all_ids or key in progress.changed or key in self._changing(ref):
                    self._people[ref].failures[key] = verdict

    def _changing(self, ref: str) -> set[Key]:
        return {key for key, row in self._ready.rows.items() if ref in row.owners}

    def _end(self, ref: str, answer: Answer | ConnectorError) -> None:
        self.answers[ref] = answer
        self._people.pop(ref, None)

    def _save(self) -> None:
        self._token.save(self._progress.dump())
