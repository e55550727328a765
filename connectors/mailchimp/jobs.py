"""Mailchimp's asynchronous jobs (`/batches`): opening one, asking how it is, reading every operation's own result.

Also what is remembered between attempts: which job holds whose calls.
Does not decide what a result means for a person.

Sources: https://mailchimp.com/developer/marketing/guides/run-async-requests-batch-endpoint/ and spec 3.0.55
(read 2026-11-22).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urljoin

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, TemporarilyUnavailable
from connectors.base.toolkit.archives import regular_files
from connectors.base.toolkit.http import field_of
from connectors.base.toolkit.vendor_json import parse_vendor_json
from connectors.mailchimp.api import NOT_FOUND_TITLE, MailchimpApi, MemberCall, Outcome, Verb, outcome_of

# The published limit is 1,000 (secondary source, unconfirmed); half of it keeps a request small.
OPERATIONS_PER_JOB = 500
_RUNNING = frozenset({"pending", "preprocessing", "started", "finalizing"})
# Between Mailchimp's clock and ours.
_CLOCK_SKEW = timedelta(minutes=10)
_LONGEST_RESULTS_BYTES = 64 * 1024 * 1024


@dataclass
class Job:
    """One job of `size` operations. Without `id` it was about to be opened at `opening_at`; nobody knows if it was."""

    calls: tuple[MemberCall, ...]
    size: int
    opening_at: datetime
    id: str | None = field(default=None, repr=False)


@dataclass
class Deletions:
    """One person's in this batch, by `list_id/key`: `begun` may have happened without an answer, `done` did happen.

    `before`: what was counted when the batch began.
    """

    begun: set[str] = field(default_factory=set, repr=False)
    done: set[str] = field(default_factory=set, repr=False)
    before: dict[str, int] = field(default_factory=dict)

    def note(self, record_id: str, outcome: Outcome | ConnectorError) -> None:
        """What a call's answer says. Gone after a deletion that nobody saw the answer of: by that deletion."""
        if isinstance(outcome, ConnectorError):
            if outcome.effect_unknown:
                self.begun.add(record_id)
            return
        if outcome.status == 204 or (outcome.status == 404 and record_id in self.begun):
            self.done.add(record_id)
        self.begun.discard(record_id)


@dataclass
class Memory:
    """The resume token, unpacked: the jobs whose results nobody has read yet, and what was deleted so far."""

    jobs: list[Job] = field(default_factory=list)
    people: dict[str, Deletions] = field(default_factory=dict)

    @classmethod
    def unpack(cls, token: bytes | None) -> Memory:
        """What an earlier attempt saved, or nothing."""
        if not token:
            return cls()
        try:
            return cls._parse(json.loads(token))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AnswerNotUnderstood("resume_token") from None

    @classmethod
    def _parse(cls, saved: Any) -> Memory:
        jobs = [
            Job(
                tuple(MemberCall(r, Verb(v), a, k) for r, v, a, k in row["calls"]),
                row["size"],
                datetime.fromisoformat(row["opening_at"]),
                row["id"],
            )
            for row in saved["jobs"]
        ]
        people = {
            ref: Deletions(set(row["begun"]), set(row["done"]), dict(row["before"]))
            for ref, row in saved["people"].items()
        }
        return cls(jobs, people)

    def pack(self) -> bytes:
        """The token to save."""
        rows = [
            {
                "id": job.id,
                "size": job.size,
                "opening_at": job.opening_at.isoformat(),
                "calls": [[c.ref, c.verb.value, c.list_id, c.key] for c in job.calls],
            }
            for job in self.jobs
        ]
        people = {
            ref: {"begun": sorted(each.begun), "done": sorted(each.done), "before": each.before}
            for ref, each in self.people.items()
            if each.begun or each.done
        }
        return json.dumps({"jobs": rows, "people": people}).encode()

    def of(self, ref: str) -> Deletions:
        """The person's deletions, none at first."""
        return self.people.setdefault(ref, Deletions())

    def calls_of(self, ref: str) -> frozenset[MemberCall]:
        """What the jobs were told to do for one person."""
        return frozenset(c for job in self.jobs for c in job.calls if c.ref == ref)

    def abandon(self, refs: Iterable[str]) -> None:
        """As `forget`, where nobody has read what the jobs did: they may have done all of it."""
        gone = set(refs)
        for call in (c for job in self.jobs for c in job.calls if c.ref in gone and c.verb is Verb.DELETE):
            self.of(call.ref).begun.add(call.record_id)
        self.forget(gone)

    def forget(self, refs: Iterable[str]) -> None:
        """Take people's calls out, so that their next attempt starts anew instead of reading an old result again."""
        gone = set(refs)
        for job in self.jobs:
            job.calls = tuple(c for c in job.calls if c.ref not in gone)
        self.jobs = [job for job in self.jobs if job.calls]


def operation_id(batch_key: str, job: Job, call: MemberCall) -> str:
    """The same on every attempt at this job, in no other job, and without meaning to whoever doesn't have the batch."""
    text = "\x1f".join((batch_key, job.opening_at.isoformat(), call.ref, call.verb.value, call.list_id, call.key))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def split(plans: Mapping[str, Sequence[MemberCall]]) -> list[tuple[MemberCall, ...]]:
    """The calls of as few jobs as the limit allows. One person's calls stay together, so that one result says all."""
    jobs: list[tuple[MemberCall, ...]] = []
    for calls in plans.values():
        if jobs and len(jobs[-1]) + len(calls) <= OPERATIONS_PER_JOB:
            jobs[-1] += tuple(calls)
        elif calls:
            jobs.append(tuple(calls))
    return jobs


def open_job(api: MailchimpApi, batch_key: str, job: Job) -> str:
    """Hand a job's operations over; its id. A look asks for ids only: results are stored, and nobody should be in them.

    No idempotency key exists; `find_job` is for an answer that was lost.
    """
    operations = []
    for call in job.calls:
        operation: dict[str, Any] = {
            "method": "GET" if call.verb is Verb.LOOK else "POST",
            "path": call.path,
            "operation_id": operation_id(batch_key, job, call),
        }
        if call.verb is Verb.LOOK:
            operation["params"] = {"fields": "id,list_id"}
        operations.append(operation)
    reply = api.client.request("POST", "/batches", expect=(200,), json_body={"operations": operations})
    return reply.field("id", str)


def results_url(api: MailchimpApi, job_id: str) -> str | None:
    """Where a finished job's results are, None while it runs. Raises JobGone if Mailchimp doesn't know the job."""
    reply = api.client.request(
        "GET",
        f"/batches/{quote(job_id, safe='')}",
        expect=(200, 404),
        params={"fields": "id,status,response_body_url"},
    )
    if reply.status == 404:
        if reply.field("title", str) != NOT_FOUND_TITLE:
            raise AnswerNotUnderstood("not_found_of_unknown_kind", status=404)
        raise JobGone
    status = reply.field("status", str)
    if status in _RUNNING:
        return None
    if status != "finished" or reply.field("id", str) != job_id:
        raise AnswerNotUnderstood("job_status_unknown")
    try:
        url = urljoin(f"{api.root}/", reply.field("response_body_url", str))
    except ValueError:
        raise AnswerNotUnderstood("bad_url") from None
    if not url.startswith("https:") and api.root.startswith("https:"):
        raise AnswerNotUnderstood("results_not_secure")
    return url


class JobUndecided(Exception):  # noqa: N818 - a fact about the job, not a fault
    """A job that may be ours hasn't finished, and only a finished one shows its operations."""


def find_job(api: MailchimpApi, batch_key: str, job: Job) -> str | None:
    """The id of a job whose opening wasn't answered; None if it was never opened.

    `GET /batches` shows no operations, only how many and when. Of the jobs with our number since then, the results' own
    operation ids tell ours: they are made from the batch key. Raises JobUndecided while one of those still runs.
    Should this miss it (a job is opened twice), nobody is harmed: a member that is gone answers 404.
    """
    fields = "batches.id,batches.status,batches.total_operations,batches.submitted_at"
    ours = {operation_id(batch_key, job, call) for call in job.calls}
    undecided = False
    for row in api.pages("/batches", "batches", fields):
        job_id, count = field_of(row, "id", str), field_of(row, "total_operations", int)
        if _instant(field_of(row, "submitted_at", str)) < job.opening_at - _CLOCK_SKEW:
            continue
        running = field_of(row, "status", str) in _RUNNING
        # A job that hasn't started counts no operations yet.
        if count != job.size and not (running and count == 0):
            continue
        url = None if running else results_url(api, job_id)
        if url is None:
            undecided = True
        elif _rows(api.client.download("GET", url), ours):
            return job_id
    if undecided:
        raise JobUndecided
    return None


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise AnswerNotUnderstood("instant_form") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class JobGone(Exception):  # noqa: N818 - a fact about the job, not a fault
    """Mailchimp doesn't know the job: cancelled by somebody, or its time is over. Its effects are to be looked at."""


def read_results(
    api: MailchimpApi, batch_key: str, job: Job, url: str
) -> Mapping[MemberCall, Outcome | ConnectorError]:
    """Each call's own outcome from the results archive. A call that the archive leaves out has an unknown effect."""
    wanted = {operation_id(batch_key, job, call) for call in job.calls}
    rows = _rows(api.client.download("GET", url), wanted)
    outcomes: dict[MemberCall, Outcome | ConnectorError] = {}
    for call in job.calls:
        row = rows.get(operation_id(batch_key, job, call))
        if row is None:
            outcomes[call] = TemporarilyUnavailable("operation_missing", effect_unknown=call.verb is Verb.DELETE)
            continue
        try:
            outcomes[call] = outcome_of(call.verb, field_of(row, "status_code", int), _body(row))
        except ConnectorError as error:
            outcomes[call] = error
    return outcomes


def _body(row: Mapping[str, Any]) -> Any:
    """An operation's answer is JSON inside a text; empty for 204."""
    text = row.get("response")
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        return parse_vendor_json(text)
    except AnswerNotUnderstood:
        return None


def _rows(archive: bytes, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
    """The wanted rows of all JSON files of a gzipped tar by operation id, in bounded memory."""
    rows: dict[str, dict[str, Any]] = {}
    for content in regular_files(archive, max_bytes=_LONGEST_RESULTS_BYTES):
        found = parse_vendor_json(content)
        if not isinstance(found, list):
            raise AnswerNotUnderstood("results_unreadable")
        for row in found:
            name = field_of(row, "operation_id", str)
            if name in wanted:
                rows[name] = row
    return rows
