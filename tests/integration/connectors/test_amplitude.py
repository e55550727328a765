"""Amplitude over real HTTP: one job a day, a hand-over whose answer was lost, a user taken out of the job by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from connectors.amplitude.connector import AmplitudeConnector
from connectors.amplitude.sandbox import AmplitudeSandbox
from connectors.base import operations
from connectors.base.errors import AnswerNotUnderstood, TemporarilyUnavailable
from connectors.base.runner import MemoryLease
from connectors.base.values import AnswerKind, Batch, Identifier, Record, Subject
from connectors.testing.sandbox import SandboxServer
from connectors.testing.sandbox.faults import Fault, FaultKind

_DELETIONS = "/api/2/deletions/users"


@pytest.fixture
def sandbox() -> AmplitudeSandbox:
    sandbox = AmplitudeSandbox({"job_seconds": 1000})
    sandbox.seed({"users": [_user(10, "ada"), _user(11, "bob"), _user(12, "ada-prefix")]})
    return sandbox


@pytest.fixture
def connector(sandbox: AmplitudeSandbox) -> Iterator[AmplitudeConnector]:
    with SandboxServer({"": sandbox}) as server:
        system = AmplitudeConnector.parse_system(
            {
                "name": "product",
                "connector": "amplitude",
                "base_url": server.url(),
                "allow_private_hosts": ["127.0.0.1"],
                "credentials": {"api_key": "sandbox-key", "secret_key": "sandbox-secret"},
                "policy": {"control_user_id": "expunge-control"},
            }
        )
        connector = AmplitudeConnector(system)
        yield connector
        connector.close()


def _user(amplitude_id: int, user_id: str) -> dict[str, Any]:
    return {"amplitude_id": amplitude_id, "user_id": user_id, "name": f"Name of {user_id}"}


def _person(user_id: str, amplitude_id: int) -> Subject:
    return Subject(user_id, (Identifier("customer_id", user_id),), (Record("user", str(amplitude_id)),))


_ADA, _BOB = _person("ada", 10), _person("bob", 11)


def _posts(sandbox: AmplitudeSandbox) -> int:
    return sum(call["method"] == "POST" for call in sandbox.journal)


def _erase(connector: AmplitudeConnector, lease: MemoryLease, *people: Subject) -> dict[str, Any]:
    return dict(operations.erase(connector, Batch("batch", people), lease))


def test_people_share_one_job_and_one_question(connector: AmplitudeConnector, sandbox: AmplitudeSandbox) -> None:
    lease = MemoryLease()
    answers = _erase(connector, lease, _ADA, _BOB)
    assert {a.kind for a in answers.values()} == {AnswerKind.ACCEPTED}
    assert answers["ada"].jobs == answers["bob"].jobs == {sandbox.state["jobs"][0]["day"]}
    assert _posts(sandbox) == 1
    sandbox.journal.clear()
    assert {a.kind for a in _erase(connector, lease, _ADA, _BOB).values()} == {AnswerKind.ACCEPTED}
    assert len(sandbox.journal) == 1
    sandbox.clock_offset = timedelta(seconds=1001)
    answers = _erase(connector, lease, _ADA, _BOB)
    assert {(a.kind, a.records["user"]) for a in answers.values()} == {(AnswerKind.ERASED, 1)}
    assert set(sandbox.state["users"]) == {"1", "12"}


def test_a_lost_answer_opens_no_second_job(connector: AmplitudeConnector, sandbox: AmplitudeSandbox) -> None:
    lease = MemoryLease()
    sandbox.faults = [Fault(FaultKind.DROP_AFTER, methods=("POST",))]
    assert isinstance(_erase(connector, lease, _ADA)["ada"], TemporarilyUnavailable)
    assert _erase(connector, lease, _ADA)["ada"].kind is AnswerKind.ACCEPTED
    assert _posts(sandbox) == 1


def test_a_user_taken_out_of_the_job_is_handed_over_again(
    connector: AmplitudeConnector, sandbox: AmplitudeSandbox
) -> None:
    lease = MemoryLease()
    _erase(connector, lease, _ADA, _BOB)
    sandbox.state["jobs"][0]["ids"].remove(10)
    answers = _erase(connector, lease, _ADA, _BOB)
    assert {a.kind for a in answers.values()} == {AnswerKind.ACCEPTED}
    assert _posts(sandbox) == 2
    assert sandbox.state["jobs"][0]["ids"] == [11, 10]


def test_a_user_shown_after_the_end_of_the_job_is_left(
    connector: AmplitudeConnector, sandbox: AmplitudeSandbox
) -> None:
    lease = MemoryLease()
    _erase(connector, lease, _ADA)
    sandbox.state["jobs"][0]["worked"] = True
    sandbox.clock_offset = timedelta(seconds=1001)
    answer = _erase(connector, lease, _ADA)["ada"]
    assert answer.kind is AnswerKind.PARTIAL
    assert [left.reason for left in answer.left] == ["still_there"]


def test_a_user_who_came_back_is_reported_and_not_touched(
    connector: AmplitudeConnector, sandbox: AmplitudeSandbox
) -> None:
    lease = MemoryLease()
    _erase(connector, lease, _ADA)
    sandbox.clock_offset = timedelta(seconds=1001)
    sandbox.seed({"users": [_user(99, "ada")]})
    answer = _erase(connector, lease, _ADA)["ada"]
    assert answer.kind is AnswerKind.PARTIAL
    assert answer.records == {"user": 1}
    assert answer.found.records == (Record("user", "99"),)
    assert _posts(sandbox) == 1


def test_an_unknown_state_of_a_job_parks(connector: AmplitudeConnector, sandbox: AmplitudeSandbox) -> None:
    lease = MemoryLease()
    _erase(connector, lease, _ADA)
    day = sandbox.state["jobs"][0]["day"]
    body = [{"day": day, "status": "paused", "amplitude_ids": [{"amplitude_id": 10}]}]
    sandbox.faults = [Fault(FaultKind.STATUS, status=200, path=_DELETIONS, body=body)]
    answer = _erase(connector, lease, _ADA)["ada"]
    assert isinstance(answer, AnswerNotUnderstood)
    assert answer.code == "job_status_unknown"


def test_more_people_than_a_hand_over_takes(
    connector: AmplitudeConnector, sandbox: AmplitudeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AmplitudeConnector, "most_records_per_job", 1)
    answers = _erase(connector, MemoryLease(), _ADA, _BOB)
    assert {a.kind for a in answers.values()} == {AnswerKind.ACCEPTED}
    assert _posts(sandbox) == 2
    assert sandbox.state["jobs"][0]["ids"] == [10, 11]


def test_an_id_that_is_no_number_is_never_sent(connector: AmplitudeConnector, sandbox: AmplitudeSandbox) -> None:
    with pytest.raises(AnswerNotUnderstood, match="amplitude_id"):
        connector.submit("batch", ["10 OR 11"])
    assert not sandbox.journal


def test_two_users_of_one_person_may_be_in_two_jobs(connector: AmplitudeConnector, sandbox: AmplitudeSandbox) -> None:
    lease = MemoryLease()
    sandbox.seed({"users": [_user(20, "ada")]})
    both = Subject("ada", _ADA.identifiers, (*_ADA.records, Record("user", "20")))
    _erase(connector, lease, both)
    (job,) = sandbox.state["jobs"]
    job["ids"].remove(20)
    sandbox.clock_offset = timedelta(seconds=600)  # the first job takes no more users
    assert _erase(connector, lease, both)["ada"].jobs == {job["day"], sandbox.state["jobs"][1]["day"]}
    posts = _posts(sandbox)
    assert _erase(connector, lease, both)["ada"].kind is AnswerKind.ACCEPTED
    assert _posts(sandbox) == posts
    sandbox.clock_offset = timedelta(seconds=2000)
    assert _erase(connector, lease, both)["ada"].records == {"user": 2}
