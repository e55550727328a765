"""Intercom over real HTTP: archived and merged contacts, conversations of several people, a search that lags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from connectors.base import operations
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.runner import MemoryLease
from connectors.base.values import Answer, AnswerKind, Batch, Identifier, Located, Record, Subject
from connectors.intercom.connector import IntercomConnector
from connectors.intercom.sandbox import IntercomSandbox
from connectors.testing.sandbox import SandboxServer
from connectors.testing.sandbox.faults import Fault, FaultKind

_ADA = Identifier("email", "ada@example.test")


@pytest.fixture
def sandbox() -> IntercomSandbox:
    return IntercomSandbox({"access_token": "token"})


@pytest.fixture
def connector(sandbox: IntercomSandbox) -> Iterator[IntercomConnector]:
    with SandboxServer({"": sandbox}) as server:
        system = IntercomConnector.parse_system(
            {
                "name": "support",
                "connector": "intercom",
                "base_url": server.url(),
                "allow_private_hosts": ["127.0.0.1"],
                "credentials": {"access_token": "token"},
                "policy": {"control_email": "control@acme.example"},
            }
        )
        connector = IntercomConnector(system)
        yield connector
        connector.close()


def _contact(contact_id: str, **more: Any) -> dict[str, Any]:
    return {"id": contact_id, "email": _ADA.value, "name": "Ada", **more}


def _planned(*contact_ids: str) -> Batch:
    records = tuple(Record("contact", contact_id) for contact_id in contact_ids)
    return Batch("batch", (Subject("ada", (_ADA,), records),))


def _erased(connector: IntercomConnector, batch: Batch) -> Any:
    return operations.erase(connector, batch, MemoryLease())["ada"]


def _confirmed(connector: IntercomConnector, batch: Batch) -> Any:
    return operations.confirm_absence(connector, batch)["ada"]


def test_a_contact_archived_after_planning_is_erased(connector: IntercomConnector, sandbox: IntercomSandbox) -> None:
    sandbox.seed({"contacts": [_contact("c1", archived=True)]})
    assert _erased(connector, _planned("c1")) == Answer.erased({"contact": 1})
    assert not sandbox.records()


@pytest.mark.parametrize(("fault", "erased"), [(FaultKind.DROP_AFTER, 1), (FaultKind.DROP_BEFORE, 1)])
def test_an_archived_contact_is_counted_after_a_lost_answer(
    connector: IntercomConnector, sandbox: IntercomSandbox, fault: FaultKind, erased: int
) -> None:
    sandbox.seed({"contacts": [_contact("c1", archived=True)]})
    sandbox.faults = [Fault(fault, methods=("DELETE",))]
    lease = MemoryLease()
    assert isinstance(operations.erase(connector, _planned("c1"), lease)["ada"], TemporarilyUnavailable)
    assert operations.erase(connector, _planned("c1"), lease)["ada"] == Answer.erased({"contact": erased})


def test_a_refused_erasure_is_not_counted_when_the_contact_is_gone(
    connector: IntercomConnector, sandbox: IntercomSandbox
) -> None:
    sandbox.seed({"contacts": [_contact("c1")]})
    sandbox.faults = [Fault(FaultKind.STATUS, methods=("DELETE",), status=429, body={})]
    lease = MemoryLease()
    assert isinstance(operations.erase(connector, _planned("c1"), lease)["ada"], TemporarilyUnavailable)
    del sandbox.state["contacts"]["c1"]
    assert operations.erase(connector, _planned("c1"), lease)["ada"] == Answer.already_absent()


def test_a_merged_contact_is_no_absence(connector: IntercomConnector, sandbox: IntercomSandbox) -> None:
    sandbox.seed({"contacts": [_contact("c1", merged=True)]})
    for answer in (_erased(connector, _planned("c1")), _confirmed(connector, _planned("c1"))):
        assert isinstance(answer, RequestRefused)
        assert answer.code == "contact_merged"


def test_a_conversation_of_several_people_stays(connector: IntercomConnector, sandbox: IntercomSandbox) -> None:
    shared = {"id": "h1", "contacts": ["c1", "c2"], "body": "about us"}
    own = {"id": "h2", "contacts": ["c1"], "body": "about Ada"}
    sandbox.seed({"contacts": [_contact("c1"), {"id": "c2", "email": "eve@example.test"}]})
    sandbox.seed({"conversations": [shared, own], "tickets": [{**own, "id": "t1"}]})
    batch = _planned("c1")
    answer = _erased(connector, batch)
    assert answer.kind is AnswerKind.ERASED
    assert answer.records == {"contact": 1, "conversation": 1, "ticket": 1}
    assert answer.not_covered == ("shared_conversation",)
    assert {row["id"] for row in sandbox.records()} == {"c2", "h1"}
    seen = _confirmed(connector, batch)
    assert (seen.kind, seen.not_covered) == (AnswerKind.ALREADY_ABSENT, ("shared_conversation",))


def test_a_search_that_lags_keeps_no_contact(connector: IntercomConnector, sandbox: IntercomSandbox) -> None:
    sandbox.options["search_lags"] = True
    sandbox.seed({"contacts": [_contact("c1")], "conversations": [{"id": "h1", "contacts": ["c1"], "body": "x"}]})
    assert _erased(connector, _planned("c1")).kind is AnswerKind.ERASED
    assert not sandbox.records()
    # The contact is still listed, so the look must not say absent yet.
    assert _confirmed(connector, _planned("c1")).kind is AnswerKind.PARTIAL


def test_a_conversation_that_stays_keeps_its_contact(connector: IntercomConnector, sandbox: IntercomSandbox) -> None:
    sandbox.seed({"contacts": [_contact("c1")], "conversations": [{"id": "h1", "contacts": ["c1"], "body": "x"}]})
    sandbox.faults = [Fault(FaultKind.LIE, methods=("DELETE",), path="/conversations/", times=None)]
    answer = _erased(connector, _planned("c1"))
    assert answer.kind is AnswerKind.PARTIAL
    assert [(left.object, left.reason) for left in answer.left] == [("conversation", "still_there")]
    assert {row["id"] for row in sandbox.records()} == {"c1", "h1"}


def test_a_plan_without_the_api_is_not_the_credential(connector: IntercomConnector, sandbox: IntercomSandbox) -> None:
    sandbox.seed({"contacts": [_contact("c1")], "conversations": [{"id": "h1", "contacts": ["c1"], "body": "x"}]})
    body = {"type": "error.list", "errors": [{"code": "api_plan_restricted"}]}
    sandbox.faults = [Fault(FaultKind.STATUS, methods=("DELETE",), status=403, body=body, times=None)]
    answer = _erased(connector, _planned("c1"))
    assert isinstance(answer, RequestRefused)
    assert answer.code == "plan_restricted"


def test_a_deletion_must_be_confirmed_in_words(connector: IntercomConnector, sandbox: IntercomSandbox) -> None:
    sandbox.seed({"contacts": [_contact("c1", archived=True)]})
    body = {"type": "contact", "id": "c1", "deleted": False}
    sandbox.faults = [Fault(FaultKind.STATUS, methods=("DELETE",), status=200, body=body)]
    answer = _erased(connector, _planned("c1"))
    assert isinstance(answer, AnswerNotUnderstood)
    assert (answer.code, answer.effect_unknown) == ("not_confirmed", True)


@pytest.mark.parametrize(("status", "calls"), [(401, 1), (429, 1), (403, 3), (503, 3)])
def test_an_error_of_the_system_ends_the_pass_for_all(
    connector: IntercomConnector, sandbox: IntercomSandbox, status: int, calls: int
) -> None:
    sandbox.faults = [Fault(FaultKind.STATUS, status=status, times=None, body={"errors": []})]
    one_at_a_time = IntercomConnector(replace(connector.system, max_concurrent_people=1))
    people = tuple(Subject(f"p{n}", (Identifier("email", f"p{n}@example.test"),)) for n in range(3))
    answers = operations.erase(one_at_a_time, Batch("batch", people), MemoryLease())
    assert all(isinstance(answer, ConnectorError) and answer.status == status for answer in answers.values())
    assert one_at_a_time.calls == calls
    one_at_a_time.close()


def test_leads_and_users_of_one_address_are_all_found(connector: IntercomConnector, sandbox: IntercomSandbox) -> None:
    sandbox.seed({"contacts": [_contact("c1", external_id="7"), _contact("c2", phone="+15550100")]})
    found = operations.locate(connector, Batch("batch", (Subject("ada", (_ADA,)),)))["ada"]
    assert isinstance(found, Located)
    assert found.records == (Record("contact", "c1"), Record("contact", "c2"))
    assert set(found.identifiers) == {Identifier("customer_id", "7"), Identifier("phone", "+15550100")}


def test_a_control_contact_hidden_by_id_is_a_blind_credential(
    connector: IntercomConnector, sandbox: IntercomSandbox
) -> None:
    connector.check_credentials()
    sandbox.faults = [Fault(FaultKind.BLIND, methods=("GET",), times=None)]
    with pytest.raises(CredentialsRefused, match="no_visibility"):
        connector.check_credentials()


def test_an_address_is_found_in_the_case_that_intercom_stores(
    connector: IntercomConnector, sandbox: IntercomSandbox
) -> None:
    sandbox.seed({"contacts": [_contact("c1")]})
    upper = Subject("ada", (Identifier("email", "Ada@Example.test"),))
    found = operations.locate(connector, Batch("batch", (upper,)))["ada"]
    assert isinstance(found, Located)
    assert found.records == (Record("contact", "c1"),)
