"""The stand-in's `/batches`.

Jobs that take `job_seconds`, and results in a gzipped tar at an address without a key.

Results are split over several JSON files, as Mailchimp's are; operations run in order when a job is nearly over.
"""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
import uuid
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from connectors.mailchimp.sandbox_wire import API_KEY, WireSandbox, chosen, problem, refuse
from connectors.testing.sandbox import Call, Result, route
from connectors.testing.sandbox.harness import parse_call

_MOST_OPERATIONS = 1000
_MOST_OPEN_JOBS = 500
_OPERATION_KEYS = frozenset({"method", "path", "params", "body", "operation_id"})
_PHASES = ((0.25, "pending"), (0.5, "preprocessing"), (0.75, "started"), (1.0, "finalizing"))


class JobsSandbox(WireSandbox):
    """Routes and clockwork of jobs. `state["jobs"]`: id -> operations, times, results once run."""

    @route("POST", "/3.0/batches")
    def open_job(self, call: Call) -> Result:
        """Take operations to run later."""
        operations = self.body(call).get("operations")
        if not isinstance(operations, list) or not 1 <= len(operations) <= _MOST_OPERATIONS:
            raise refuse(400, "Invalid Resource", "operations is an array of 1 to 1000.")
        for operation in operations:
            known = isinstance(operation, dict) and set(operation) <= _OPERATION_KEYS
            if not known or operation.get("method") not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                raise refuse(400, "Invalid Resource", "An operation has a method, a path and known fields.")
            if not isinstance(operation.get("path"), str) or operation["path"].startswith("http"):
                raise refuse(400, "Invalid Resource", "An operation's path is relative.")
        if sum(job["results"] is None for job in self.state["jobs"].values()) >= _MOST_OPEN_JOBS:
            raise refuse(429, "Too Many Requests", "You have more than 500 pending batches.")
        job = {
            "id": uuid.uuid4().hex[:10],
            "operations": operations,
            "submitted_at": self.now().isoformat(),
            "completed_at": "",
            "results": None,
        }
        self.state["jobs"][job["id"]] = job
        return Result(200, self._shown_job(job))

    @route("GET", "/3.0/batches")
    def list_jobs(self, call: Call) -> Result:
        """Every job of the account, newest first; without its operations."""
        self.only(call, frozenset({"count", "offset", "fields", "exclude_fields"}))
        return self.page(call, "batches", [self._shown_job(j) for j in reversed(self.state["jobs"].values())])

    @route("GET", "/3.0/batches/{job_id}")
    def get_job(self, call: Call) -> Result:
        """How one job is."""
        self.only(call, frozenset({"fields", "exclude_fields"}))
        job = self.state["jobs"].get(call.path_values["job_id"])
        if job is None:
            return self.not_found(call)
        return Result(200, chosen(self._shown_job(job), call.query.get("fields")))

    @route("DELETE", "/3.0/batches/{job_id}")
    def delete_job(self, call: Call) -> Result:
        """Stop a job, or throw its results away."""
        if self.state["jobs"].pop(call.path_values["job_id"], None) is None:
            return self.not_found(call)
        return Result(204)

    @route("GET", "/results/{job_id}")
    def download(self, call: Call) -> Result:
        """The archive, as a storage service serves it.

        No problem documents, and the signature is the only key.
        """
        job = self.state["jobs"].get(call.path_values["job_id"])
        if job is None or job["results"] is None or call.query.get("signature") != self._signature(job):
            return Result(403, b"<Error><Code>AccessDenied</Code></Error>", {"content-type": "application/xml"})
        return Result(200, _archive(job["id"], job["results"]), {"content-type": "application/x-gzip"})

    @staticmethod
    def _signature(job: dict[str, Any]) -> str:
        return str(job["id"])[::-1]

    def _elapsed(self, job: dict[str, Any]) -> float:
        seconds = float(self.options.get("job_seconds", 0))
        if seconds <= 0:
            return 1.0
        return (self.now() - datetime.fromisoformat(job["submitted_at"])).total_seconds() / seconds

    def _shown_job(self, job: dict[str, Any]) -> dict[str, Any]:
        elapsed = self._elapsed(job)
        status = next((name for share, name in _PHASES if elapsed < share), "finished")
        if job["results"] is None and status == "finished":
            status = "pending"
        done = job["results"] or []
        url = ""
        if status == "finished":
            root = str(self.options.get("public_url", "..")).rstrip("/")
            url = f"{root}/results/{job['id']}?{urlencode({'signature': self._signature(job)})}"
        return {
            "id": job["id"],
            "status": status,
            "total_operations": 0 if status in ("pending", "preprocessing") else len(job["operations"]),
            "finished_operations": len(done),
            "errored_operations": sum(row["status_code"] >= 400 for row in done),
            "submitted_at": job["submitted_at"],
            "completed_at": job["completed_at"],
            "response_body_url": url,
        }

    def advance(self) -> None:
        """Run the jobs whose time has come."""
        for job in self.state["jobs"].values():
            if job["results"] is None and self._elapsed(job) >= _PHASES[-2][0]:
                job["results"] = []
                job["results"] = [self._run(operation) for operation in job["operations"]]
                job["completed_at"] = self.now().isoformat()

    def _run(self, operation: dict[str, Any]) -> dict[str, Any]:
        result = None
        for pattern, status in self.options.get("operation_errors", {}).items():
            if re.search(pattern, operation["path"]):
                result = problem(status, "Internal Server Error" if status >= 500 else "Not Permitted", "Not done.")
        if result is None:
            key = base64.b64encode(f"job:{self.options.get('api_key', API_KEY)}".encode()).decode()
            headers = {"authorization": f"Basic {key}", "content-type": "application/json"}
            query = urlencode(operation.get("params", {})).encode()
            path = "/3.0/" + operation["path"].lstrip("/")
            body = (operation.get("body") or "").encode()
            result = self.handle(parse_call(operation["method"], path, query, headers, body))
        text = "" if result.body is None else json.dumps(result.body)
        return {"operation_id": operation.get("operation_id"), "status_code": result.status, "response": text}


def _archive(job_id: str, rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        folder = tarfile.TarInfo(f"{job_id}/")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        half = (len(rows) + 1) // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            content = json.dumps(part).encode()
            entry = tarfile.TarInfo(f"{job_id}/{number}.json")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
