"""Bulk API 2.0 hardDelete: past the recycle bin at once, for many records of one object.

Decides how a job is opened exactly once and what its end says. Opening is saved as an intention first; after a lost
answer the org's own list of jobs is asked for it. Needs the permission "Bulk API Hard Delete".
Source: Bulk API 2.0 Developer Guide; help.salesforce.com 000382207 (read 2026-11-22).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.base.errors import AnswerNotUnderstood, RequestRefused, TemporarilyUnavailable
from connectors.base.toolkit.http import field_of
from connectors.base.toolkit.vendor_json import parse_vendor_json
from connectors.salesforce.deletion.progress import OpenJob
from connectors.salesforce.deletion.writing import Verdict, verdict_of
from connectors.salesforce.identifiers import long_id
from connectors.salesforce.org.org import Org
from connectors.salesforce.org.soql import by_id

JOB_FAILED = "bulk_job_failed"
MAX_IDS = 6_200  # of 15 characters and a line break: a multipart request takes 100,000
_RUNNING = frozenset({"Open", "UploadComplete", "InProgress"})
_CLOCK_SKEW = timedelta(minutes=5)


class HardDelete:
    """Jobs of one org."""

    def __init__(self, org: Org) -> None:
        self._org = org

    def open(self, object_name: str, ids: Sequence[str], save: Callable[[OpenJob], None]) -> OpenJob | None:
        """Create, upload and close a job in one call. None if the permission is missing: nothing was done then."""
        job = OpenJob(object_name, tuple(ids), datetime.now(UTC).isoformat())
        save(job)
        wanted = {"object": object_name, "operation": "hardDelete", "contentType": "CSV", "lineEnding": "LF"}
        files = {
            "job": (None, json.dumps(wanted), "application/json"),
            "content": ("content", "Id\n" + "".join(f"{by_id(i)}\n" for i in ids), "text/csv"),
        }
        try:
            # simple-salesforce has no multipart creation, which spares two calls a job.
            response = self._org.session.request(
                "POST", f"{self._org.client.bulk2_url}ingest", files=files, headers={"Accept": "application/json"}
            )
        except RequestRefused:
            return None
        job.id = field_of(parse_vendor_json(response.content, effect_unknown=True), "id", str)
        save(job)
        return job

    def find(self, job: OpenJob) -> str | None:
        """The id of a job whose opening was answered by nothing: the youngest of ours since then, if there is one."""
        since = datetime.fromisoformat(job.intended_at) - _CLOCK_SKEW
        answer: Any = self._org.client.restful("jobs/ingest", params={"jobType": "V2Ingest"})
        found: list[tuple[datetime, str]] = []
        while True:
            for row in field_of(answer, "records", list):
                at = _instant(field_of(row, "createdDate", str))
                ours = str(row.get("createdById") or "")[:15] == self._org.user_id[:15]
                same = row.get("object") == job.object and row.get("operation") == "hardDelete"
                if ours and same and at >= since and row.get("state") in _RUNNING:
                    found.append((at, field_of(row, "id", str)))
            locator = answer.get("nextRecordsUrl")
            if not locator:
                return max(found)[1] if found else None
            answer = self._org.client.restful(str(locator).removeprefix(f"{self._org.root}/"))

    def verdicts(self, job: OpenJob) -> dict[str, Verdict] | None:
        """None while it runs; else a verdict for each id that failed. Raises if the job as a whole failed."""
        client = getattr(self._org.client.bulk2, job.object)._client  # simple-salesforce's own client of one object
        shown = client.get_job(job.id, False)
        state = field_of(shown, "state", str)
        if state in _RUNNING:
            return None
        if state != "JobComplete":
            raise TemporarilyUnavailable(JOB_FAILED, effect_unknown=True)
        if field_of(shown, "numberRecordsFailed", int) == 0:
            return {}
        response = self._org.session.request(
            "GET", f"{self._org.client.bulk2_url}ingest/{job.id}/failedResults", headers={"Accept": "text/csv"}
        )
        rows = csv.DictReader(io.StringIO(response.text))
        if rows.fieldnames is None or not {"sf__Id", "sf__Error"} <= set(rows.fieldnames):
            raise AnswerNotUnderstood("failed_results")
        return {_whole(row.get("Id") or row["sf__Id"]): verdict_of(row["sf__Error"].partition(":")[0]) for row in rows}


def _whole(record_id: str) -> str:
    whole = long_id(record_id)
    if whole is None:
        raise AnswerNotUnderstood("failed_results")
    return whole


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.replace("+0000", "+00:00"))
    except ValueError:
        raise AnswerNotUnderstood("instant") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
