"""An import is `completed` once its body came whole and each of its requests has ended, and the log says so."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from service.domain.access.api_key import Caller
from service.domain.requests.imports import ImportFormat, ImportState, is_completed
from service.requests.imports.begin import begin_import
from service.requests.imports.complete import complete_imports
from tests.audit_replay import differences
from tests.integration.api.bodies.sent_imports import read, send, verified
from tests.integration.api.conftest import Office


@pytest.fixture(autouse=True)
def replayed(office: Office) -> Any:
    """Replaying the log gives every state."""
    yield
    assert differences(office.stores.engine) == []


def imported(office: Office, *emails: str) -> tuple[str, list[str]]:
    """An import of these people, and their requests."""
    verdicts, last = read(send(office, "\n".join(verified(office, email) for email in emails)))
    return last["import"], [each["id"] for each in verdicts]


def end(office: Office, request_id: str) -> None:
    assert office.call("POST", f"/v1/requests/{request_id}/deny", {"reason": "no_match"}).status_code == 200


def state_of(office: Office, import_id: str) -> str:
    state: str = office.call("GET", f"/v1/imports/{import_id}").json()["state"]
    return state


def test_an_import_completes_with_its_last_request(office: Office) -> None:
    import_id, (first, second) = imported(office, "ada@example.test", "bob@example.test")
    end(office, first)
    assert complete_imports(office.stores) == 0
    assert state_of(office, import_id) == "running"

    end(office, second)
    assert complete_imports(office.stores) == 1
    assert complete_imports(office.stores) == 0
    assert state_of(office, import_id) == "completed"
    assert office.events(import_id)[-1][:2] == ("import_completed", "scheduler")
    assert 'expunge_imports{state="completed"} 1.0' in office.call("GET", "/metrics").text
    for verb in ("pause", "resume", "cancel"):
        refused = office.call("POST", f"/v1/imports/{import_id}/{verb}")
        assert (refused.status_code, refused.json()["detail"]) == (409, "the import is completed")


def test_an_import_with_refused_lines_only_completes(office: Office) -> None:
    _, last = read(send(office, "{\n"))
    assert complete_imports(office.stores) == 1
    assert state_of(office, last["import"]) == "completed"


def test_an_import_with_an_incomplete_body_keeps_running(office: Office) -> None:
    importing = begin_import(office.stores, Caller(uuid4(), frozenset()), "cut-off", ImportFormat.JSONL)
    assert complete_imports(office.stores) == 0
    assert state_of(office, str(importing.id)) == "running"


def test_a_paused_import_stays_paused_until_it_is_resumed(office: Office) -> None:
    import_id, (request_id,) = imported(office, "ada@example.test")
    office.call("POST", f"/v1/imports/{import_id}/pause")
    end(office, request_id)
    assert complete_imports(office.stores) == 0
    assert state_of(office, import_id) == "paused"

    office.call("POST", f"/v1/imports/{import_id}/resume")
    assert complete_imports(office.stores) == 1


def test_a_repaired_line_makes_a_completed_import_run_again(office: Office) -> None:
    good = verified(office, "ada@example.test")
    verdicts, last = read(send(office, f"{good}\n{{\n"))
    end(office, verdicts[0]["id"])
    assert complete_imports(office.stores) == 1

    # The same body again accepts nothing, so there is nothing to do.
    send(office, f"{good}\n{{\n")
    assert state_of(office, last["import"]) == "completed"

    (_, repaired), _ = read(send(office, f"{good}\n{verified(office, 'bob@example.test')}\n"))
    assert repaired["status"] == "accepted"
    assert state_of(office, last["import"]) == "running"
    assert complete_imports(office.stores) == 0
    end(office, repaired["id"])
    assert complete_imports(office.stores) == 1
    events = [event for event, _, _ in office.events(UUID(last["import"]))]
    assert [event for event in events if event != "import_received"] == [
        "import_begun",
        "import_completed",
        "import_reopened",
        "import_completed",
    ]


@pytest.mark.parametrize("state", ImportState)
@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("has_unfinished", [True, False])
def test_only_one_combination_is_completed(state: ImportState, is_whole: bool, has_unfinished: bool) -> None:
    expected = state is ImportState.RUNNING and is_whole and not has_unfinished
    assert is_completed(state, is_whole=is_whole, has_unfinished=has_unfinished) is expected
