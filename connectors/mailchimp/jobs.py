"""Mailchimp's operations on members, directly and as batch operations (`/batches`).

`POST /batches` has no idempotency key and `GET /batches` shows no operations, so a job whose opening wasn't answered is
known by the operation ids in its results. Sources, read 2026-11-22: specification 3.0.55;
mailchimp.com/developer/marketing/guides/run-async-requests-batch-endpoint/.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urljoin

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.kit.calls import VALUE, Call, Listing, Offsets, instant_of
from connectors.base.kit.look import Row
from connectors.base.kit.operations import OperationsConnector
from connectors.base.kit.record_operations import Job, JobGone, JobUndecided, Outcome, RecordOperation
from connectors.base.toolkit.archives import regular_files
from connectors.base.toolkit.http import field_of
from connectors.base.toolkit.vendor_json import parse_vendor_json
from connectors.mailchimp.members import FIELDS, NOT_FOUND, method_and_path, outcome_of

_RUNNING = frozenset({"pending", "preprocessing", "started", "finalizing"})
_SHOW = Call("GET", ("/batches", VALUE), params={"fields": "id,status,response_body_url"})
_JOB_FIELDS = "batches.id,batches.status,batches.total_operations,batches.submitted_at,total_items"
_LIST = Call("GET", "/batches", params={"count": "1000", "fields": _JOB_FIELDS})
_JOBS = Listing(_LIST, "batches", Offsets("offset", "total_items"))
# Between Mailchimp's clock and ours.
_CLOCK_SKEW = timedelta(minutes=10)
_LONGEST_RESULTS_BYTES = 64 * 1024 * 1024


class MailchimpOperations(OperationsConnector):
    """The operations of one account. `api_root`: where links to results begin."""

    api_root: str

    def perform(self, operation: RecordOperation) -> Outcome:
        """Look at a member, or delete it for good."""
        method, path = method_and_path(operation)
        expect, params = ((204, 404, 405), None) if operation.erases else ((200, 404), FIELDS)
        reply = self.http.request(method, path, expect=expect, params=params)
        if reply.status >= 400 and not reply.headers.get("content-type", "").startswith("application/problem+json"):
            raise AnswerNotUnderstood("not_a_problem_document", status=reply.status)
        return outcome_of(operation, reply.status, reply.body)

    def open_job(self, key: str, job: Job) -> str:
        """Open a job. A look asks for ids only, because Mailchimp stores the results."""
        operations: list[dict[str, Any]] = []
        for operation in job.operations:
            method, path = method_and_path(operation)
            row = {"method": method, "path": path, "operation_id": job.operation_id(key, operation)}
            operations.append(row if operation.erases else row | {"params": {"fields": "id,list_id"}})
        reply = self.http.request("POST", "/batches", expect=(200,), json_body={"operations": operations})
        return reply.field("id", str)

    def find_job(self, key: str, job: Job) -> str | None:
        """Return the job with this number of operations since then whose results have our operation ids.

        A job that this misses is opened twice, which harms nobody: a member that is gone answers 404.
        """
        undecided = False
        for row in _JOBS.all(self.http):
            job_id, count = field_of(row, "id", str), field_of(row, "total_operations", int)
            running = field_of(row, "status", str) in _RUNNING
            # A job that hasn't started counts no operations yet.
            fits = count == job.size or (running and count == 0)
            if not fits or instant_of(row.get("submitted_at"), "submitted_at") < job.opened_at - _CLOCK_SKEW:
                continue
            found = None if running else self.results(job_id, job.operation_ids(key))
            undecided = undecided or found is None
            if found:
                return job_id
        if undecided:
            raise JobUndecided
        return None

    def results(self, job_id: str, operation_ids: frozenset[str]) -> dict[str, Row] | None:
        """Ask for a job, and read its results once it has finished."""
        reply = _SHOW.send(self.http, job_id, also=(404,))
        if NOT_FOUND.says(reply):
            raise JobGone
        status = reply.field("status", str)
        if status in _RUNNING:
            return None
        if status != "finished" or reply.field("id", str) != job_id:
            raise AnswerNotUnderstood("job_status_unknown")
        try:
            url = urljoin(f"{self.api_root}/", reply.field("response_body_url", str))
        except ValueError:
            raise AnswerNotUnderstood("bad_url") from None
        rows: dict[str, Row] = {}
        for content in regular_files(self.http.download("GET", url), max_bytes=_LONGEST_RESULTS_BYTES):
            found = parse_vendor_json(content)
            if not isinstance(found, list):
                raise AnswerNotUnderstood("results_unreadable")
            rows |= {name: row for row in found if (name := field_of(row, "operation_id", str)) in operation_ids}
        return rows

    def outcome_of_result(self, operation: RecordOperation, result: Row) -> Outcome:
        """Read a result: a status, and an answer that is JSON inside a text, empty for 204."""
        text = result.get("response")
        try:
            body = parse_vendor_json(text) if isinstance(text, str) and text.strip() else None
        except AnswerNotUnderstood:
            body = None
        return outcome_of(operation, field_of(result, "status_code", int), body)
