"""The stand-in's Bulk API 2.0 ingest: jobs that take `job_seconds`, one upload each, an answer for every row.

Source: Bulk API 2.0 Developer Guide (read 2026-11-22). Operations: delete, hardDelete (needs a permission that even
administrators lack by default), update, insert. Unconfirmed: that hardDelete refuses ids that are in the recycle bin.
Options: `job_seconds`; `failing_jobs` (the next n jobs end as Failed with all rows unprocessed).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from connectors.salesforce.sandbox.composite import CompositeSandbox
from connectors.salesforce.sandbox.schema import SObject
from connectors.salesforce.sandbox.wire import (
    RowError,
    csv_result,
    full_id,
    json_body,
    make_id,
    not_found,
    only_parameters,
    parse_instant,
    refuse,
)
from connectors.testing.sandbox import Call, Result, route

_MULTIPART_CHARACTERS = 100_000
_MOST_BYTES = 100 * 1024 * 1024
_RESULT_LIFE = timedelta(days=7)
_OPERATIONS = frozenset({"insert", "delete", "hardDelete", "update"})
_JOB_KEYS = frozenset({"object", "operation", "contentType", "lineEnding", "columnDelimiter", "externalIdFieldName"})
_ENDED = ("JobComplete", "Failed", "Aborted")


class BulkSandbox(CompositeSandbox):
    """Ingest jobs. `state["jobs"]`: id -> job with its rows and results."""

    def advance(self) -> None:
        """Run the jobs whose time has come, then what the org does: what a job purged is cleared away in its time."""
        for job in self.state["jobs"].values():
            if job["state"] == "UploadComplete" and self._elapsed(job) >= self._job_seconds():
                self.locked_elsewhere = frozenset()
                self._work_off(job)
        super().advance()

    def _job_seconds(self) -> float:
        return float(self.options.get("job_seconds", 0))

    def _elapsed(self, job: dict[str, Any]) -> float:
        return (self.now() - parse_instant(job["closed_at"])).total_seconds()

    def ids_in_running_jobs(self) -> set[str]:
        """Ids of the jobs that are closed and not yet done."""
        return {
            row["Id"]
            for job in self.state["jobs"].values()
            if job["state"] == "UploadComplete"
            for row in job["rows"]
            if "Id" in row
        }

    @route("POST", "/services/data/{version}/jobs/ingest")
    def create_job(self, call: Call) -> Result:
        """Open a job; with multipart, also upload and close it."""
        kind = call.headers.get("content-type", "")
        if not kind.lower().startswith("multipart/form-data"):
            return Result(200, self._shown_job(call, self._opened(json_body(call))))
        parts = _parts(kind, call.body)
        if set(parts) != {"job", "content"}:
            raise refuse(400, "INVALIDJOB", "the parts job and content are required")
        if len(parts["content"]) > _MULTIPART_CHARACTERS:
            raise refuse(400, "INVALIDJOB", "content of a multipart request is limited to 100000 characters")
        try:
            wanted = json.loads(parts["job"])
        except ValueError:
            raise refuse(400, "JSON_PARSER_ERROR", "the part job is not JSON") from None
        job = self._opened(wanted)
        try:
            self._upload(job, parts["content"])
        except Exception:
            del self.state["jobs"][job["id"]]
            raise
        self._close(job)
        return Result(200, self._shown_job(call, job))

    def _opened(self, wanted: Any) -> dict[str, Any]:
        if not isinstance(wanted, dict) or set(wanted) - _JOB_KEYS:
            raise refuse(400, "INVALIDJOB", "unknown or missing keys")
        operation, found = wanted.get("operation"), self.visible.get(str(wanted.get("object")))
        if found is None:
            raise refuse(400, "INVALIDENTITY", "Entity is not supported for bulk jobs")
        if operation not in _OPERATIONS:
            raise refuse(400, "INVALIDOPERATION", "Operation is not supported here")
        if wanted.get("contentType", "CSV") != "CSV" or wanted.get("columnDelimiter", "COMMA") != "COMMA":
            raise refuse(400, "INVALIDJOB", "only CSV with commas")
        if wanted.get("lineEnding", "LF") not in ("LF", "CRLF"):
            raise refuse(400, "INVALIDJOB", "unknown line ending")
        if operation == "hardDelete" and not self.permission("bulk_hard_delete"):
            message = "hardDelete operation requires special user profile permission, please contact your administrator"
            raise refuse(400, "FEATURENOTENABLED", message)
        if operation in ("delete", "hardDelete") and not found.may("deletable"):
            raise refuse(400, "INVALIDENTITY", "Entity cannot be deleted")
        job = {
            "id": make_id("750", len(self.state["jobs"]) + 1),
            "object": found.name,
            "operation": operation,
            "lineEnding": wanted.get("lineEnding", "LF"),
            "state": "Open",
            "created_at": self.stamp(),
            "closed_at": None,
            "uploaded": False,
            "rows": [],
            "results": [],
        }
        self.state["jobs"][job["id"]] = job
        return job

    def _job(self, call: Call) -> dict[str, Any]:
        try:
            job = self.state["jobs"].get(full_id(call.path_values["job_id"]))
        except RowError:
            job = None
        if job is None:
            raise not_found()
        stored: dict[str, Any] = job
        return stored

    @route("PUT", "/services/data/{version}/jobs/ingest/{job_id}/batches")
    def upload(self, call: Call) -> Result:
        """Upload a job's rows: once."""
        job = self._job(call)
        if call.headers.get("content-type", "").split(";")[0].strip().lower() != "text/csv":
            raise refuse(415, "UNSUPPORTED_MEDIA_TYPE", "text/csv is required")
        if len(call.body) > _MOST_BYTES:
            raise refuse(400, "INVALIDBATCH", "the upload is too large")
        if job["state"] != "Open" or job["uploaded"]:
            raise refuse(400, "INVALIDJOB", "Found multiple contents for job or the job is not open")
        self._upload(job, call.body.decode("utf-8", "replace"))
        return Result(201)

    def _upload(self, job: dict[str, Any], text: str) -> None:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        columns = list(rows[0]) if rows else []
        if not columns:
            raise refuse(400, "INVALIDBATCH", "the upload has no rows")
        if job["operation"] in ("delete", "hardDelete") and [c.lower() for c in columns] != ["id"]:
            raise refuse(400, "INVALIDBATCH", "a deletion has the column Id and no other")
        if job["operation"] == "update" and "id" not in [c.lower() for c in columns]:
            raise refuse(400, "INVALIDBATCH", "an update has a column Id")
        job["rows"] = [{("Id" if k.lower() == "id" else k): v for k, v in row.items() if k} for row in rows]
        job["uploaded"] = True

    @route("PATCH", "/services/data/{version}/jobs/ingest/{job_id}")
    def change_job(self, call: Call) -> Result:
        """Close a job after its upload, or stop it."""
        job, body = self._job(call), json_body(call)
        state = body.get("state") if isinstance(body, dict) and set(body) == {"state"} else None
        if state == "UploadComplete" and job["state"] == "Open" and job["uploaded"]:
            self._close(job)
        elif state == "Aborted" and job["state"] not in _ENDED:
            job["state"] = "Aborted"
            job["results"] = [{"row": row, "error": None, "done": False} for row in job["rows"]]
        else:
            raise refuse(400, "INVALIDJOBSTATE", "the job can't get this state now")
        return Result(200, self._shown_job(call, job))

    def _close(self, job: dict[str, Any]) -> None:
        job["state"], job["closed_at"] = "UploadComplete", self.stamp()

    @route("GET", "/services/data/{version}/jobs/ingest")
    def list_jobs(self, call: Call) -> Result:
        """All jobs, newest first."""
        only_parameters(call, "isPkChunkingEnabled", "jobType", "queryLocator")
        jobs = [self._shown_job(call, job) for job in reversed(self.state["jobs"].values())]
        return Result(200, {"done": True, "nextRecordsUrl": None, "records": jobs})

    @route("GET", "/services/data/{version}/jobs/ingest/{job_id}")
    def get_job(self, call: Call) -> Result:
        """How a job is."""
        return Result(200, self._shown_job(call, self._job(call)))

    @route("DELETE", "/services/data/{version}/jobs/ingest/{job_id}")
    def delete_job(self, call: Call) -> Result:
        """Forget a job that has ended."""
        job = self._job(call)
        if job["state"] not in _ENDED:
            raise refuse(400, "INVALIDJOBSTATE", "the job hasn't ended")
        del self.state["jobs"][job["id"]]
        return Result(204)

    @route("GET", "/services/data/{version}/jobs/ingest/{job_id}/{results}")
    def results(self, call: Call) -> Result:
        """Rows that succeeded, failed, or were never worked on, as CSV."""
        job, kind = self._job(call), call.path_values["results"].lower()
        if kind not in ("successfulresults", "failedresults", "unprocessedrecords"):
            raise not_found()
        if job["state"] not in _ENDED or parse_instant(job["created_at"]) + _RESULT_LIFE < self.now():
            raise not_found()
        columns = list(job["rows"][0]) if job["rows"] else ["Id"]
        head = {"successfulresults": ["sf__Id", "sf__Created"], "failedresults": ["sf__Id", "sf__Error"]}.get(kind, [])
        ending = "\r\n" if job["lineEnding"] == "CRLF" else "\n"
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=ending)
        writer.writerow([*head, *columns])
        for result in job["results"]:
            own = (
                "unprocessedrecords" if not result["done"]
                else "failedresults" if result["error"] else "successfulresults"
            )  # fmt: skip
            if own == kind:
                told = [result.get("id", ""), result["error"] or "false"] if head else []
                writer.writerow([*told, *(result["row"].get(c, "") for c in columns)])
        return csv_result(out.getvalue())

    def _shown_job(self, call: Call, job: dict[str, Any]) -> dict[str, Any]:
        state = job["state"]
        if state == "UploadComplete" and self._elapsed(job) >= self._job_seconds() / 2 > 0:
            state = "InProgress"
        shown = {
            "id": job["id"],
            "operation": job["operation"],
            "object": job["object"],
            "createdById": self.state["running_user"],
            "createdDate": job["created_at"],
            "systemModstamp": self.stamp(),
            "state": state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.version(call)),
            "jobType": "V2Ingest",
            "lineEnding": job["lineEnding"],
            "columnDelimiter": "COMMA",
        }
        if job["state"] == "Open":
            shown["contentUrl"] = f"{self.base(call)[1:]}/jobs/ingest/{job['id']}/batches"
        done = [r for r in job["results"] if r["done"]]
        shown |= {"numberRecordsProcessed": len(done), "numberRecordsFailed": sum(bool(r["error"]) for r in done)}
        if job["state"] == "Failed":
            shown["errorMessage"] = "InvalidBatch : the job could not be worked off"
        return shown

    def _work_off(self, job: dict[str, Any]) -> None:
        failing = int(self.options.get("failing_jobs", 0))
        if failing > 0:
            self.options["failing_jobs"] = failing - 1
            job["state"] = "Failed"
            job["results"] = [{"row": row, "error": None, "done": False} for row in job["rows"]]
            return
        job["state"] = "JobComplete"
        self.locked_elsewhere = self.keys_of(self.ids_in_running_jobs())
        found = self.schema.get(job["object"])
        if found is not None:
            job["results"] = list(self._results(job, found))
        self.locked_elsewhere = frozenset()

    def _results(self, job: dict[str, Any], found: SObject) -> Iterator[dict[str, Any]]:
        for row in job["rows"]:
            undo = self.store.savepoint()
            try:
                yield {"row": row, "error": None, "done": True, "id": self._worked(job["operation"], found, row)}
            except RowError as error:
                undo()
                text = f"{error.code}:{error.message}:{' '.join(error.fields) or '--'}"
                yield {"row": row, "error": text, "done": True, "id": row.get("Id", "")}

    def _worked(self, operation: str, found: SObject, row: dict[str, str]) -> str:
        fields = {k: None if v == "#N/A" else _typed(found, k, v) for k, v in row.items() if k != "Id" and v != ""}
        if operation == "insert":
            return str(self.create_row(found, fields)["Id"])
        value = row.get("Id", "")
        if self.schema.of_id(full_id(value)) is not found:
            raise RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if operation == "update":
            return str(self.update_row(value, fields)["Id"])
        return str(self.delete_row(value, hard=operation == "hardDelete")["Id"])


def _typed(found: SObject, name: str, text: str) -> Any:
    kind = found.fields.get(name.lower(), {}).get("type")
    if kind == "boolean":
        return text.lower() == "true"
    return float(text) if kind in ("currency", "double") and re.fullmatch(r"-?\d+(\.\d+)?", text) else text


def _parts(kind: str, body: bytes) -> dict[str, str]:
    """The parts of a multipart body by name, each of the type that Salesforce asks for."""
    message = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=HTTP)
    found: dict[str, str] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        wanted = {"job": "application/json", "content": "text/csv"}.get(str(name))
        if wanted is None or part.get_content_type() != wanted:
            raise refuse(400, "INVALIDJOB", "a part is unknown or of the wrong type")
        payload = part.get_payload(decode=True)
        found[str(name)] = payload.decode() if isinstance(payload, bytes) else ""
    return found
