"""Mailchimp's jobs: many people at once, every operation's own result, and an answer that got lost."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

import pytest
from test_mailchimp import ADA, BOB, EVE, Lease, Stage, kind, member, only, person
from test_mailchimp import stage as stage  # a fixture

from connectors.base import operations
from connectors.base.errors import AnswerNotUnderstood, RequestRefused, TemporarilyUnavailable
from connectors.base.values import Answer, AnswerKind, Batch, Identifier
from connectors.mailchimp import jobs
from connectors.mailchimp.connector import MailchimpConnector
from connectors.mailchimp.sandbox import MailchimpSandbox, subscriber_hash
from connectors.testing.sandbox import Result, SandboxServer
from connectors.testing.sandbox.faults import Fault, FaultKind


def to_the_end(connector: MailchimpConnector, batch: Batch, lease: Lease, turns: int = 8) -> dict[str, object]:
    """Call `erase` as the engine does while a job runs or an attempt fails for now."""
    answers: dict[str, object] = {}
    for _ in range(turns):
        answers = dict(operations.erase(connector, batch, lease))
        again = [a for a in answers.values() if getattr(a, "resumes", False) or isinstance(a, TemporarilyUnavailable)]
        if not again:
            break
    return answers


def test_many_people_take_one_job(stage: Stage) -> None:
    people = [person(f"person-{n}@example.test") for n in range(40)]
    addresses = [p.identifiers[0].value for p in people]
    stage.seed(news=[*map(member, addresses), member(EVE)], shop=[member(a, "archived") for a in addresses[:20]])
    connector = stage.connect()
    batch = stage.frozen(connector, *people)
    stage.sandbox.journal.clear()
    lease = Lease()
    first = operations.erase(connector, batch, lease)
    assert {kind(a) for a in first.values()} == {AnswerKind.ACCEPTED}
    assert all(a.resumes for a in first.values())
    assert sorted(lease.asked) == sorted(p.ref for p in people)
    answers = operations.erase(connector, batch, lease)
    assert [answers[p.ref].records for p in people] == [{"member": 2}] * 20 + [{"member": 1}] * 20
    # Audiences twice, one job, one question, one download.
    assert len(stage.calls()) == 5
    assert not stage.sandbox.residue(set(addresses))
    assert stage.has("news", EVE)


def test_a_job_runs_through_its_states(stage: Stage) -> None:
    stage.sandbox.options["job_seconds"] = 100
    stage.seed(news=[member(ADA)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    lease = Lease()
    seen = []
    for _ in range(6):
        answer = only(operations.erase(connector, batch, lease))
        seen.append(next(iter(stage.sandbox.state["jobs"].values()))["results"] is not None)
        if not answer.resumes:
            break
        stage.wait(24)
    assert answer.kind is AnswerKind.ERASED
    assert seen == [False, False, False, False, True, True]
    assert len(stage.calls("POST")) == 1


def test_each_person_has_the_result_of_their_own_operations(stage: Stage) -> None:
    """404, 405, 429, 500, 403 and 400 among 204s: nobody gets another's ending."""
    statuses = {"c404": 404, "other404": 404, "c405": 405, "c429": 429, "c500": 500, "c403": 403, "c400": 400}
    people = {name: person(f"{name}@example.test") for name in ("fine", *statuses, "well")}
    stage.seed(news=[member(p.identifiers[0].value) for p in people.values()])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, *people.values())
    del stage.sandbox.state["members"]["news"][subscriber_hash("c404@example.test")]
    stage.sandbox.options["operation_errors"] = {
        subscriber_hash(f"{name}@example.test"): status for name, status in statuses.items() if name != "c404"
    }
    lease = Lease()
    operations.erase(connector, batch, lease)
    answers = operations.erase(connector, batch, lease)
    got = {name: answers[p.ref] for name, p in people.items()}
    assert kind(got["fine"]) is kind(got["well"]) is AnswerKind.ERASED
    assert kind(got["c404"]) is AnswerKind.ALREADY_ABSENT
    # The stand-in's injected 404 has a title of its own: nothing says that it is the member who isn't there.
    assert isinstance(got["other404"], AnswerNotUnderstood)
    assert kind(got["c405"]) is AnswerKind.PARTIAL
    assert isinstance(got["c429"], TemporarilyUnavailable)
    assert isinstance(got["c500"], TemporarilyUnavailable)
    assert got["c500"].effect_unknown
    assert not isinstance(got["c403"], Answer)
    assert isinstance(got["c400"], RequestRefused)

    stage.sandbox.options["operation_errors"] = {}
    failed = [people[name] for name in ("c429", "c500")]
    again = Batch(batch.key, tuple(s for s in batch.subjects if s.ref in {p.ref for p in failed}))
    assert {kind(a) for a in to_the_end(connector, again, lease).values()} == {AnswerKind.ERASED}
    assert len(stage.calls("POST", "/batches")) == 2


def test_a_look_in_a_job_stores_nobody_in_its_results(stage: Stage) -> None:
    """Somebody found outside the plan is reported in full, but not copied into what Mailchimp keeps of the job."""
    stage.seed(news=[member(ADA)], shop=[])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    stage.seed(shop=[member(ADA, "archived", merge_fields={"PHONE": "+12025550100"})])
    lease = Lease()
    operations.erase(connector, batch, lease)
    answer = only(operations.erase(connector, batch, lease))
    assert kind(answer) is AnswerKind.PARTIAL
    assert answer.records == {"member": 1}
    assert Identifier("phone", "+12025550100") in answer.found.identifiers
    assert stage.has("shop", ADA)
    stored = json.dumps(stage.sandbox.state["jobs"])
    assert ADA not in stored
    assert "+12025550100" not in stored


def test_results_are_used_once(stage: Stage) -> None:
    """A person who is there again is erased again, also under the token of the attempt before."""
    stage.seed(news=[member(ADA)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    lease = Lease()
    assert only(to_the_end(connector, batch, lease)).kind is AnswerKind.ERASED
    stage.seed(news=[member(ADA)])
    assert only(to_the_end(connector, batch, lease)).kind is AnswerKind.ERASED
    assert not stage.has("news", ADA)


def test_a_job_told_something_else_does_not_count(stage: Stage) -> None:
    """The plan grew while the job ran: the new plan is carried out, not read off the old job."""
    stage.sandbox.options["job_seconds"] = 60
    stage.seed(news=[member(ADA)], shop=[])
    connector = stage.connect(batch_threshold=0)
    lease = Lease()
    operations.erase(connector, stage.frozen(connector, person(ADA)), lease)
    stage.seed(shop=[member(ADA)])
    grown = stage.frozen(connector, person(ADA))
    answer = only(operations.erase(connector, grown, lease))
    assert answer.resumes
    stage.wait(61)
    assert kind(only(to_the_end(connector, grown, lease))) in (AnswerKind.ERASED, AnswerKind.ALREADY_ABSENT)
    assert not stage.has("news", ADA)
    assert not stage.has("shop", ADA)


def test_fewer_people_on_the_next_attempt(stage: Stage) -> None:
    stage.seed(news=[member(ADA), member(EVE)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA), person(EVE))
    lease = Lease()
    operations.erase(connector, batch, lease)
    answers = operations.erase(connector, Batch(batch.key, batch.subjects[:1]), lease)
    assert kind(only(answers)) is AnswerKind.ERASED


def test_one_persons_operations_stay_in_one_job(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MailchimpConnector, "most_operations_per_job", 5)
    people = [person(f"person-{n}@example.test") for n in range(5)]
    stage.seed(news=[member(p.identifiers[0].value) for p in people], shop=[])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, *people)
    lease = Lease(stopped=frozenset({people[4].ref}))
    answers = to_the_end(connector, Batch(batch.key, batch.subjects[:4]), lease)
    assert {kind(a) for a in answers.values()} == {AnswerKind.ERASED}
    sizes = [len(json.loads(c["body"])["operations"]) for c in stage.calls("POST", "/batches")]
    assert sizes == [4, 4]
    assert isinstance(
        only(operations.erase(connector, Batch("other", batch.subjects[4:]), lease)), TemporarilyUnavailable
    )
    assert len(stage.calls("POST", "/batches")) == 2
    assert stage.has("news", people[4].identifiers[0].value)


@pytest.mark.parametrize("absolute", [False, True])
def test_results_are_fetched_from_where_the_vendor_says(absolute: bool) -> None:
    """From a storage service with an address of its own, or under the same root as the API."""
    sandbox = MailchimpSandbox()
    with SandboxServer({"": sandbox}) as storage, SandboxServer({"mounted": sandbox}) as server:
        if absolute:
            sandbox.options["public_url"] = storage.url()
        stage = Stage(sandbox, server.url("mounted"))
        stage.seed(news=[member(ADA)])
        connector = stage.connect(batch_threshold=0)
        answers = to_the_end(connector, stage.frozen(connector, person(ADA)), Lease())
        assert kind(only(answers)) is AnswerKind.ERASED


# Lost answers


@pytest.mark.parametrize("fault", [FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER])
@pytest.mark.parametrize("threshold", [0, 20])
def test_a_cut_at_any_call_ends_as_without_it(stage: Stage, fault: FaultKind, threshold: int) -> None:
    """At every call once; the next attempt is a new process with what was saved. All gone, nobody else, one job."""
    for k in range(20):
        stage.sandbox.faults, stage.sandbox.state = [], stage.sandbox.empty_state()
        stage.seed(news=[member(ADA), member(EVE), member(BOB)], shop=[member(ADA, "archived"), member(BOB)])
        batch = stage.frozen(stage.connect(), person(ADA), person(EVE))
        stage.sandbox.journal.clear()
        stage.breaks(Fault(fault, skip=k))
        lease = Lease()
        for _ in range(8):
            answers = operations.erase(stage.connect(batch_threshold=threshold), batch, lease)
            if not any(getattr(a, "resumes", False) or isinstance(a, TemporarilyUnavailable) for a in answers.values()):
                break
        assert {kind(a) for a in answers.values()} <= {AnswerKind.ERASED, AnswerKind.ALREADY_ABSENT}
        struck = any(c["fault"] for c in stage.calls())
        stage.breaks()
        looks = operations.confirm_absence(stage.connect(), batch)
        assert {kind(a) for a in looks.values()} == {AnswerKind.ALREADY_ABSENT}
        assert not stage.sandbox.residue({ADA, EVE})
        assert stage.has("news", BOB)
        assert stage.has("shop", BOB)
        assert len(stage.sandbox.state["jobs"]) == (1 if threshold == 0 else 0)
        if not struck:
            assert k > 2
            return
    pytest.fail("the attempt never came to its end")


def test_a_lost_job_is_found_again_when_it_has_finished(stage: Stage) -> None:
    stage.sandbox.options["job_seconds"] = 60
    stage.seed(news=[member(ADA)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    stage.breaks(Fault(FaultKind.DROP_AFTER, methods=("POST",)))
    lease = Lease()
    lost = only(operations.erase(connector, batch, lease))
    assert isinstance(lost, TemporarilyUnavailable)
    assert lost.effect_unknown
    assert only(operations.erase(connector, batch, lease)).resumes
    stage.wait(61)
    assert kind(only(operations.erase(connector, batch, lease))) is AnswerKind.ERASED
    assert len(stage.calls("POST", "/batches")) == 1


def test_somebody_elses_job_is_not_taken_for_ours(stage: Stage) -> None:
    """Another integration ran a job of the same size at the same time, and ours was never opened."""
    stage.seed(news=[member(ADA), member(EVE)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    stage.breaks(Fault(FaultKind.DROP_BEFORE, methods=("POST",)))
    lease = Lease()
    operations.erase(connector, batch, lease)
    other = Lease()
    operations.erase(stage.connect(batch_threshold=0), stage.frozen(connector, person(EVE), key="theirs"), other)
    assert only(operations.erase(connector, batch, lease)).resumes
    assert kind(only(to_the_end(connector, batch, lease))) is AnswerKind.ERASED
    assert not stage.has("news", ADA)
    assert len(stage.sandbox.state["jobs"]) == 2


def test_a_job_that_mailchimp_does_not_know_is_started_anew(stage: Stage) -> None:
    """It lied when it took the job, or somebody cancelled it."""
    stage.seed(news=[member(ADA)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    stage.breaks(Fault(FaultKind.LIE, methods=("POST",)))
    lease = Lease()
    assert only(operations.erase(connector, batch, lease)).resumes
    assert stage.has("news", ADA)
    assert kind(only(to_the_end(connector, batch, lease))) is AnswerKind.ERASED
    assert not stage.has("news", ADA)


def test_what_a_job_did_whose_results_are_gone_is_counted(stage: Stage) -> None:
    """Nobody read that the member was deleted; the next job finds nobody, and nobody else had a reason."""
    stage.seed(news=[member(ADA)])
    connector = stage.connect(batch_threshold=0)
    batch, lease = stage.frozen(connector, person(ADA)), Lease()
    assert only(operations.erase(connector, batch, lease)).resumes
    connector.check_credentials()
    assert not stage.has("news", ADA)
    stage.sandbox.state["jobs"].clear()
    answer = to_the_end(connector, batch, lease)[batch.subjects[0].ref]
    assert isinstance(answer, Answer)
    assert (answer.kind, answer.records) == (AnswerKind.ERASED, {"member": 1})


def test_a_question_that_fails_opens_no_other_job(stage: Stage) -> None:
    stage.seed(news=[member(ADA)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    lease = Lease()
    operations.erase(connector, batch, lease)
    stage.breaks(
        Fault(FaultKind.STATUS, path="/batches/", status=503), Fault(FaultKind.STATUS, path="/results/", status=403)
    )
    for _ in range(2):
        assert isinstance(only(operations.erase(connector, batch, lease)), TemporarilyUnavailable)
    assert kind(only(operations.erase(connector, batch, lease))) is AnswerKind.ERASED
    assert len(stage.calls("POST")) == 1


# Results that can't be trusted


def archive(*files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for number, content in enumerate(files):
            entry = tarfile.TarInfo(f"../../{number}.json")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        archive(b"no json"),
        archive(b'{"not": "rows"}'),
        archive(b"[1]"),
        archive(b"[{}]"),
        archive(b"[" * 100_000),
        archive(b'[{"operation_id": 1e999}]'),
    ],
    ids=["nothing", "no archive", "no json", "no list", "no object", "no id", "deep", "infinite"],
)
def test_unreadable_results_conclude_nothing(stage: Stage, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.seed(news=[member(ADA)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    lease = Lease()
    operations.erase(connector, batch, lease)
    whole = type(stage.sandbox).handle
    monkeypatch.setattr(
        type(stage.sandbox), "handle", lambda self, call: _instead(whole(self, call), call.path, content)
    )
    assert isinstance(only(operations.erase(connector, batch, lease)), AnswerNotUnderstood)
    monkeypatch.undo()
    assert kind(only(operations.erase(connector, batch, lease))) is AnswerKind.ERASED


@pytest.mark.parametrize("link", ["http://[", "https://xn--\u00e4.example.test/\u2603", "ftp://a.example.test/", "//"])
def test_a_link_that_is_none_concludes_nothing(stage: Stage, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.seed(news=[member(ADA)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    lease = Lease()
    operations.erase(connector, batch, lease)
    whole = type(stage.sandbox)._shown_job
    monkeypatch.setattr(
        type(stage.sandbox), "_shown_job", lambda self, job: whole(self, job) | {"response_body_url": link}
    )
    assert isinstance(only(operations.erase(connector, batch, lease)), AnswerNotUnderstood)


def _instead(result: Result, path: str, content: bytes) -> Result:
    return replace(result, body=content) if path.startswith("/results/") else result


def test_an_operation_without_a_result_has_an_unknown_effect(stage: Stage) -> None:
    stage.seed(news=[member(ADA), member(EVE)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA), person(EVE))
    lease = Lease()
    operations.erase(connector, batch, lease)
    job = next(iter(stage.sandbox.state["jobs"].values()))
    stage.sandbox.advance()
    job["results"] = job["results"][:1]
    answers = list(operations.erase(connector, batch, lease).values())
    missing = [a for a in answers if isinstance(a, TemporarilyUnavailable)]
    assert [(a.code, a.effect_unknown) for a in missing] == [("operation_missing", True)]
    assert len(answers) == 2


def test_a_bomb_is_not_unpacked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_LONGEST_RESULTS_BYTES", 10)
    stage.seed(news=[member(ADA)])
    connector = stage.connect(batch_threshold=0)
    batch = stage.frozen(connector, person(ADA))
    lease = Lease()
    operations.erase(connector, batch, lease)
    answer = only(operations.erase(connector, batch, lease))
    assert isinstance(answer, AnswerNotUnderstood)
    assert answer.code == "archive_too_large"
