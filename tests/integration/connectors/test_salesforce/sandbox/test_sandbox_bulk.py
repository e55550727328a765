"""Bulk 2.0 ingest in the stand-in: one upload, an answer for every row, and a permission that nobody has by default."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest

from ..org_client import OrgClient, opened, row

JOBS = "/jobs/ingest"


@pytest.fixture
def org() -> Iterator[OrgClient]:
    with opened(permissions={"bulk_hard_delete": True}, job_seconds=10) as client:
        client.seed(
            row("Account", "acme", Name="Acme"),
            row("Contact", "ada", LastName="Ada", Email="ada@example.test", AccountId="@acme"),
            row("Contact", "bob", LastName="Bob"),
            row("Case", "case", ContactId="@ada", Status="New"),
            row("Task", "task", WhoId="@bob", Status="Open"),
        )
        yield client


def _open(client: OrgClient, operation: str, kind: str = "Contact") -> Any:
    answer = client.call("POST", JOBS, json={"object": kind, "operation": operation, "contentType": "CSV"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "Open"
    return answer.json()


def _put(client: OrgClient, job: Any, text: str, kind: str = "text/csv") -> int:
    answer = client.http.put("/" + job["contentUrl"], content=text.encode(), headers={"content-type": kind})
    return answer.status_code


def _close(client: OrgClient, job: Any, state: str = "UploadComplete") -> int:
    return client.call("PATCH", f"{JOBS}/{job['id']}", json={"state": state}).status_code


def _wait(client: OrgClient, job: Any) -> Any:
    client.sandbox.advance_clock(seconds=11)
    return client.call("GET", f"{JOBS}/{job['id']}").json()


def _rows(client: OrgClient, job: Any, kind: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.call("GET", f"{JOBS}/{job['id']}/{kind}").text)))


def _run(client: OrgClient, operation: str, text: str, kind: str = "Contact") -> Any:
    job = _open(client, operation, kind)
    assert _put(client, job, text) == 201
    assert _close(client, job) == 200
    done = _wait(client, job)
    assert done["state"] == "JobComplete"
    return done


def test_a_job_goes_through_its_states_and_answers_for_every_row(org: OrgClient) -> None:
    job = _open(org, "delete")
    assert _put(org, job, f"Id\n{org.id('ada')}\n{org.id('bob')}\n") == 201
    assert _put(org, job, f"Id\n{org.id('bob')}\n") == 400, "one upload a job"
    assert _close(org, job) == 200
    assert org.call("GET", f"{JOBS}/{job['id']}").json()["state"] == "UploadComplete"
    assert org.call("GET", f"{JOBS}/{job['id']}/failedResults").status_code == 404, "not before the end"
    org.sandbox.advance_clock(seconds=6)
    assert org.call("GET", f"{JOBS}/{job['id']}").json()["state"] == "InProgress"

    done = _wait(org, job)

    assert (done["state"], done["numberRecordsProcessed"], done["numberRecordsFailed"]) == ("JobComplete", 2, 1)
    assert [r["sf__Id"] for r in _rows(org, job, "successfulResults")] == [org.id("bob")]
    (failed,) = _rows(org, job, "failedResults")
    assert failed["Id"] == org.id("ada")
    assert failed["sf__Error"].startswith("DELETE_FAILED:")
    assert failed["sf__Error"].endswith(":--")
    assert _rows(org, job, "unprocessedrecords") == []
    assert org.id("bob") in org.ids("SELECT Id FROM Contact WHERE IsDeleted = true")


def test_hard_delete_passes_the_bin_by_and_takes_children_along(org: OrgClient) -> None:
    job = _run(org, "hardDelete", f"Id\n{org.id('bob')}\n")
    assert job["numberRecordsFailed"] == 0
    assert org.ids(f"SELECT Id FROM Contact WHERE Id = '{org.id('bob')}'") == []
    assert org.ids(f"SELECT Id FROM Task WHERE Id = '{org.id('task')}'") == []


def test_hard_delete_refuses_what_is_in_the_bin(org: OrgClient) -> None:
    org.codes("bob")
    job = _run(org, "hardDelete", f"Id\n{org.id('bob')}\n")
    assert _rows(org, job, "failedResults")[0]["sf__Error"].startswith("ENTITY_IS_DELETED:")


def test_hard_delete_needs_its_permission() -> None:
    with opened() as client:
        body = {"object": "Contact", "operation": "hardDelete", "contentType": "CSV"}
        answer = client.call("POST", JOBS, json=body)
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "FEATURENOTENABLED")
        found = client.query("SELECT PermissionsBulkApiHardDelete, PermissionsModifyAllData FROM UserPermissionAccess")
        record = found.json()["records"][0]
        assert (record["PermissionsBulkApiHardDelete"], record["PermissionsModifyAllData"]) == (False, True)


def test_multipart_opens_uploads_and_closes_in_one_call(org: OrgClient) -> None:
    def files(content: str) -> dict[str, Any]:
        return {
            "job": (None, '{"object": "Contact", "operation": "hardDelete", "contentType": "CSV"}', "application/json"),
            "content": ("content", content, "text/csv"),
        }

    answer = org.call("POST", JOBS, files=files(f"Id\n{org.id('bob')}\n"))
    assert (answer.status_code, answer.json()["state"]) == (200, "UploadComplete")
    assert _wait(org, answer.json())["numberRecordsFailed"] == 0
    assert org.call("POST", JOBS, files=files("Id\n" + f"{org.id('bob')}\n" * 5_300)).status_code == 400
    assert len(org.sandbox.state["jobs"]) == 1, "a refused job isn't there"


@pytest.mark.parametrize("text", ["Id,Name\n003,x\n", "Name\nx\n", "", "Id\n"])
def test_a_deletion_has_the_column_id_only(org: OrgClient, text: str) -> None:
    assert _put(org, _open(org, "delete"), text) == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"object": "Nope", "operation": "delete"}, "INVALIDENTITY"),
        ({"object": "User", "operation": "delete"}, "INVALIDENTITY"),
        ({"object": "Contact", "operation": "query"}, "INVALIDOPERATION"),
        ({"object": "Contact", "operation": "delete", "contentType": "JSON"}, "INVALIDJOB"),
        ({"object": "Contact", "operation": "delete", "surprise": 1}, "INVALIDJOB"),
    ],
)
def test_refuses_other_jobs(org: OrgClient, body: dict[str, Any], code: str) -> None:
    answer = org.call("POST", JOBS, json=body)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)


def test_states_that_a_job_cannot_get(org: OrgClient) -> None:
    job = _open(org, "delete")
    assert _close(org, job) == 400, "nothing was uploaded"
    assert _put(org, job, f"Id\n{org.id('bob')}\n", kind="application/json") == 415
    assert org.call("DELETE", f"{JOBS}/{job['id']}").status_code == 400
    assert _put(org, job, f"Id\n{org.id('bob')}\n") == 201
    assert _close(org, job, "Aborted") == 200
    assert [r["Id"] for r in _rows(org, job, "unprocessedrecords")] == [org.id("bob")]
    assert _close(org, job) == 400
    assert [j["id"] for j in org.call("GET", JOBS).json()["records"]] == [job["id"]]
    assert org.call("DELETE", f"{JOBS}/{job['id']}").status_code == 204
    assert org.call("GET", f"{JOBS}/{job['id']}").status_code == 404


def test_a_failed_job_names_what_it_did_not_work_on(org: OrgClient) -> None:
    org.sandbox.options["failing_jobs"] = 1
    job = _open(org, "delete")
    _put(org, job, f"Id\n{org.id('bob')}\n")
    _close(org, job)
    assert _wait(org, job)["state"] == "Failed"
    assert [r["Id"] for r in _rows(org, job, "unprocessedrecords")] == [org.id("bob")]
    assert org.ids(f"SELECT Id FROM Contact WHERE Id = '{org.id('bob')}' AND IsDeleted = false") == [org.id("bob")]


def test_results_end_after_seven_days(org: OrgClient) -> None:
    job = _run(org, "delete", f"Id\n{org.id('bob')}\n")
    org.sandbox.advance_clock(days=7)
    org.log_in()
    assert org.call("GET", f"{JOBS}/{job['id']}/successfulResults").status_code == 404


def test_updates_null_with_a_marker_and_ids_of_another_object_fail(org: OrgClient) -> None:
    job = _run(org, "update", f"Id,Email,Title\n{org.id('ada')},#N/A,Dr\n{org.id('case')},#N/A,Dr\n")
    assert [r["sf__Id"] for r in _rows(org, job, "successfulResults")] == [org.id("ada")]
    assert org.ids("SELECT Id FROM Contact WHERE Title = 'Dr' AND Email = null") == [org.id("ada")]


def test_two_jobs_at_once_under_one_parent_lock_each_other_out(org: OrgClient) -> None:
    org.seed(*(row("Case", f"k{n}", AccountId="@acme", Status="New") for n in range(2)))
    jobs = [_open(org, "delete", "Case") for _ in range(2)]
    for n, job in enumerate(jobs):
        _put(org, job, f"Id\n{org.id(f'k{n}')}\n")
        _close(org, job)
    done = [_wait(org, job) for job in jobs]
    assert [job["numberRecordsFailed"] for job in done] == [1, 0]
    assert _rows(org, jobs[0], "failedResults")[0]["sf__Error"].startswith("UNABLE_TO_LOCK_ROW:")


def test_a_dead_token_is_told_here_too(org: OrgClient) -> None:
    org.sandbox.revoke_tokens()
    answer = org.call("POST", JOBS, json={"object": "Contact", "operation": "delete"})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
