"""Each rule of the kit, switched off, fails the case of the suite that exists for it, in one of its vendors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from test_conformance_amplitude import AmplitudeFixture
from test_conformance_intercom import IntercomFixture
from test_conformance_mailchimp import MailchimpFixture, MailchimpJobsFixture
from test_conformance_zendesk import ZendeskFixture

from connectors.base.errors import AnswerNotUnderstood, TemporarilyUnavailable
from connectors.base.interface import Answers, Connector, Lease
from connectors.base.kit import calls, look, progress, rest, stages
from connectors.base.kit.jobs import JobConnector
from connectors.base.kit.look import Look
from connectors.base.kit.people import each_person
from connectors.base.kit.record_operations import Effect, Outcome, RecordOperation
from connectors.base.kit.rest import Hanging, RestConnector
from connectors.base.kit.suppression import SuppressingConnector
from connectors.base.values import Answer, Batch, Record, Subject, Visibility
from connectors.mailchimp.connector import MailchimpConnector
from connectors.testing.conformance import Case, ConformanceSuite, HttpVendorFixture
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import look_alikes
from connectors.testing.sandbox.faults import FaultKind
from connectors.zendesk.connector import ZendeskConnector

Patch = pytest.MonkeyPatch
_RECORDS: tuple[HttpVendorFixture, ...] = (IntercomFixture(),)
_JOBS: tuple[HttpVendorFixture, ...] = (AmplitudeFixture(),)
_STAGES: tuple[HttpVendorFixture, ...] = (ZendeskFixture(),)
_OPERATIONS: tuple[HttpVendorFixture, ...] = (MailchimpFixture(), MailchimpJobsFixture())
_SUPPRESSION: tuple[HttpVendorFixture, ...] = (MailchimpFixture(),)
_ALL = _RECORDS + _JOBS
_MANY = _STAGES + _OPERATIONS


def _holds_ignored(patch: Patch) -> None:
    patch.setattr(progress.Progress, "require_permission", lambda *_: None)


def _root_before_dependents(patch: Patch) -> None:
    def erase_person(self: Any, subject: Subject, seen: Look, hanging: Hanging, done: progress.Progress) -> Answer:
        self.erase_roots(subject, seen, done)
        # As a connector that finds the dependents only through a root that is there.
        alive = hanging if seen.known else Hanging({}, frozenset())
        self.erase_dependents(subject, alive, done)
        return Answer.erased(done.of(subject).counts(subject))

    patch.setattr(RestConnector, "erase_person", erase_person)
    patch.setattr(RestConnector, "confirm_absence", look.KitConnector.confirm_absence)


def _no_exact_match(patch: Patch) -> None:
    patch.setattr(calls, "is_same", lambda *_, **__: True)


def _unplanned_erased(patch: Patch) -> None:
    patch.setattr(Look, "known", property(lambda self: sorted(self.rows)))
    patch.setattr(Look, "new", property(lambda _: {}))


def _lost_effects_forgotten(patch: Patch) -> None:
    patch.setattr(progress.PersonProgress, "settle", lambda self, present: self.begun.clear())


def _counts_told_twice(patch: Patch) -> None:
    patch.setattr(progress, "unreported", lambda erased, before, counted: dict(erased))


def _first_page_only(patch: Patch) -> None:
    patch.setattr(calls.Cursor, "next", lambda *_: None)


def _any_404_believed(patch: Patch) -> None:
    patch.setattr(calls.Gone, "says", lambda self, reply: reply.status == self.status)


def _erases_concurrently(patch: Patch) -> None:
    patch.setattr(rest, "each_person", lambda people, act, at_most, **more: each_person(people, act, at_most=4, **more))


def _token_not_saved(patch: Patch) -> None:
    patch.setattr(progress.Progress, "save", lambda *_: None)


def _no_look_afterwards(patch: Patch) -> None:
    patch.setattr(
        JobConnector, "confirm_absence", lambda _, batch: {s.ref: Answer.already_absent() for s in batch.subjects}
    )


def _running_jobs_forgotten(patch: Patch) -> None:
    patch.setattr(stages.StagedErasure, "_settle_jobs", lambda _: None)


def _no_look_after_a_stage(patch: Patch) -> None:
    patch.setattr(ZendeskConnector, "still_there", lambda *_: ())


def _kept_records_taken_for_erased(patch: Patch) -> None:
    patch.setattr(stages.StagedErasure, "_refuse", lambda *_: None)


def _asks_before_the_first_stage_only(patch: Patch) -> None:
    ask, asked = progress.Progress.require_permission, set[str]()

    def once(self: progress.Progress, subject: Subject) -> None:
        if subject.ref not in asked:
            asked.add(subject.ref)
            ask(self, subject)

    patch.setattr(progress.Progress, "require_permission", once)


def _suppression_only_claimed(patch: Patch) -> None:
    patch.setattr(MailchimpConnector, "suppress_record", lambda *_: None)


def _every_record_taken_for_suppressed(patch: Patch) -> None:
    patch.setattr(MailchimpConnector, "needs_suppression", lambda *_: False)


def _look_alikes_suppressed(patch: Patch) -> None:
    """The kit's exact comparison is off, and the vendor's looks ask for look-alikes, too."""
    places = MailchimpConnector.places

    def careless(self: MailchimpConnector, subject: Subject) -> list[Record]:
        others = (other for one in subject.identifiers for other in (one, *look_alikes(one)))
        return places(self, Subject(subject.ref, tuple(others)))

    patch.setattr(MailchimpConnector, "places", careless)
    patch.setattr(look.KitConnector, "is_own", lambda *_: True)


def _others_rows_suppressed(patch: Patch) -> None:
    """The record of one person is suppressed under another person's permission."""
    look_at = look.KitConnector.look_at

    def exchanged(self: look.KitConnector, people: Sequence[Subject]) -> Any:
        looks = look_at(self, people)
        return dict(zip(looks, reversed(looks.values()), strict=True))

    patch.setattr(look.KitConnector, "look_at", exchanged)


def _suppresses_before_asking(patch: Patch) -> None:
    def suppress(self: SuppressingConnector, batch: Batch, lease: Lease) -> Answers:
        def one(subject: Subject, seen: Look) -> Answer:
            for record, row in seen.rows.items():
                if missing := self.missing_scopes(subject, row):
                    self.suppress_record(record, missing)
                    if not lease.may_proceed(subject.ref):
                        raise TemporarilyUnavailable("stopped")
            return Answer.suppressed() if seen.rows else Answer.already_absent()

        return self.after_look(batch.subjects, one, at_most=1)

    patch.setattr(SuppressingConnector, "suppress", suppress)


def _suppresses_without_asking(patch: Patch) -> None:
    suppress = SuppressingConnector.suppress

    class Deaf(SuiteLease):
        def may_proceed(self, ref: str) -> bool:
            return True

    patch.setattr(SuppressingConnector, "suppress", lambda self, batch, _: suppress(self, batch, Deaf()))


def _suppresses_concurrently(patch: Patch) -> None:
    patch.setattr(look, "each_person", lambda people, act, at_most, **more: each_person(people, act, at_most=4, **more))


def _first_record_only_read(patch: Patch) -> None:
    read = SuppressingConnector._read_from

    def first(self: SuppressingConnector, subject: Subject, seen: Look) -> Answer:
        return read(self, subject, Look({r: seen.rows[r] for r in sorted(seen.rows)[:1]}, seen.planned))

    patch.setattr(SuppressingConnector, "_read_from", first)


def _read_back_taken_for_granted(patch: Patch) -> None:
    patch.setattr(
        SuppressingConnector,
        "_read_from",
        lambda _, __, seen: Answer.suppressed() if seen.rows else Answer.already_absent(),
    )


def _blind_credential_read(patch: Patch) -> None:
    patch.setattr(MailchimpConnector, "check_credentials", lambda _: Visibility("claimed"))
    patch.setattr(MailchimpConnector, "conclude_absence", lambda *_: Answer.already_absent())


def _any_404_read_as_absence(patch: Patch) -> None:
    perform = MailchimpConnector.perform

    def believing(self: MailchimpConnector, operation: RecordOperation) -> Outcome:
        try:
            return perform(self, operation)
        except AnswerNotUnderstood as error:
            if error.status != 404:
                raise
            return Effect.ABSENT

    patch.setattr(MailchimpConnector, "perform", believing)


def _scopes_ignored(patch: Patch) -> None:
    patch.setattr(Connector, "wanted_scopes", lambda self, _: self.declaration.suppression_scopes)


def _others_opt_out_believed(patch: Patch) -> None:
    """A look that finds no record of the person takes the records of a look-alike."""
    read = SuppressingConnector._read_from

    def believed(self: SuppressingConnector, subject: Subject, seen: Look) -> Answer:
        return read(self, subject, seen) if seen.rows else Answer.suppressed()

    patch.setattr(SuppressingConnector, "_read_from", believed)


_Mutant = tuple[Callable[[Patch], None], tuple[HttpVendorFixture, ...], str, dict[str, object]]
_MUTANTS: tuple[_Mutant, ...] = (
    (_holds_ignored, _ALL, "test_a_stopped_person_is_not_touched_and_others_go_on", {}),
    (_holds_ignored, _ALL, "test_asks_before_each_effect", {}),
    (_root_before_dependents, _RECORDS, "test_a_crash_in_the_middle_of_a_person", {"kind": FaultKind.DROP_AFTER}),
    (_no_exact_match, _JOBS, "test_look_alikes_alone_are_not_found", {}),
    (_unplanned_erased, _ALL, "test_records_outside_the_plan_are_not_touched", {}),
    (_lost_effects_forgotten, _RECORDS, "test_who_dies_at_a_call_leaves_a_true_sum", {}),
    (_lost_effects_forgotten, _JOBS, "test_what_went_is_told_once", {}),
    (_counts_told_twice, _ALL, "test_what_went_is_told_once", {}),
    (_first_page_only, _RECORDS, "test_erases_more_pages_of_roots_than_a_plan_has_rounds", {}),
    (_any_404_believed, _RECORDS, "test_a_404_of_another_form_is_no_absence", {}),
    (_erases_concurrently, _RECORDS, "test_a_lost_lease_stops_everything", {"moment": "ask"}),
    (_token_not_saved, _ALL, "test_who_dies_at_a_call_leaves_a_true_sum", {}),
    (_no_look_afterwards, _JOBS, "test_accepted_is_not_gone", {}),
    (_holds_ignored, _MANY, "test_a_stopped_person_is_not_touched_and_others_go_on", {}),
    (_counts_told_twice, _MANY, "test_what_went_is_told_once", {}),
    (_token_not_saved, _MANY, "test_who_dies_at_a_call_leaves_a_true_sum", {}),
    (_lost_effects_forgotten, _STAGES, "test_who_dies_at_a_call_leaves_a_true_sum", {}),
    (_running_jobs_forgotten, _STAGES, "test_a_running_job_is_polled_and_not_opened_again", {}),
    (_no_look_after_a_stage, _STAGES, "test_one_bad_answer_never_makes_a_false_ending", {"bad": "lie"}),
    (_kept_records_taken_for_erased, _STAGES, "test_one_bad_answer_never_makes_a_false_ending", {"bad": "lie"}),
    (_asks_before_the_first_stage_only, _STAGES, "test_asks_before_each_effect", {}),
    (_suppression_only_claimed, _SUPPRESSION, "test_a_suppressed_person_is_contacted_no_more", {}),
    (_every_record_taken_for_suppressed, _SUPPRESSION, "test_a_suppressed_person_is_contacted_no_more", {}),
    (_look_alikes_suppressed, _SUPPRESSION, "test_suppresses_without_creating_anybody", {}),
    (_others_rows_suppressed, _SUPPRESSION, "test_a_stopped_person_is_not_suppressed_and_others_are", {}),
    (_suppresses_before_asking, _SUPPRESSION, "test_a_stopped_person_is_not_suppressed_and_others_are", {}),
    (_suppresses_before_asking, _SUPPRESSION, "test_asks_before_each_suppression", {}),
    (_suppresses_without_asking, _SUPPRESSION, "test_nothing_is_suppressed_afterwards", {"event": "hold"}),
    (_suppresses_concurrently, _SUPPRESSION, "test_nothing_is_suppressed_afterwards", {"event": "lost_lease"}),
    (_first_record_only_read, _SUPPRESSION, "test_one_record_that_is_not_suppressed_is_told", {}),
    (_read_back_taken_for_granted, _SUPPRESSION, "test_one_record_that_is_not_suppressed_is_told", {}),
    (_read_back_taken_for_granted, _SUPPRESSION, "test_somebody_subscribed_again_is_not_suppressed", {}),
    (_blind_credential_read, _SUPPRESSION, "test_a_blind_credential_reads_no_suppression", {}),
    (_any_404_read_as_absence, _SUPPRESSION, "test_a_foreign_404_reads_no_suppression", {}),
    (_scopes_ignored, _SUPPRESSION, "test_a_scope_that_is_not_offered_is_no_suppression", {}),
    (_others_opt_out_believed, _SUPPRESSION, "test_another_persons_opt_out_is_not_theirs", {}),
    (_look_alikes_suppressed, _SUPPRESSION, "test_another_persons_opt_out_is_not_theirs", {}),
)
_RUNS = [(mutate, vendor, test_name, values) for mutate, fixtures, test_name, values in _MUTANTS for vendor in fixtures]


@pytest.mark.parametrize(
    ("mutate", "vendor", "test_name", "values"),
    _RUNS,
    ids=[f"{m.__name__[1:]}-{b.name}-{c[5:]}" for m, b, c, _ in _RUNS],
)
def test_a_rule_switched_off_fails_its_case(
    mutate: Callable[[Patch], None],
    vendor: HttpVendorFixture,
    test_name: str,
    values: dict[str, object],
    monkeypatch: Patch,
) -> None:
    with vendor.open() as running, Case(vendor, running) as case:
        monkeypatch.undo()
        mutate(monkeypatch)
        try:
            with pytest.raises((AssertionError, pytest.fail.Exception)):
                getattr(ConformanceSuite(), test_name)(case, **values)
        except pytest.skip.Exception:
            raise AssertionError(f"{test_name} was skipped") from None
