"""A vendor of the fault tests' own that erases by jobs of up to a hundred people, and its connector.

The vendor is as unforgiving as vendors get: two orders with one reference are two jobs, and it keeps count. So a
connector that forgets that it opened a job is seen at once. It signs its callbacks, with spaces in its JSON that nobody
who writes it again would put there. Arrives as a plugin does, through entry points.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import httpx
from pydantic import BaseModel, SecretStr

from connectors.base.callbacks import Callback, CallbackCall
from connectors.base.config import SystemConfig, SystemModel
from connectors.base.errors import CredentialsRefused, TemporarilyUnavailable
from connectors.base.interface import Answers, Connector, Declaration, Delays, ErasesBy, Findings, Lease, Operation
from connectors.base.toolkit.callbacks import CallbackSecrets, HmacSignature, Part, json_body
from connectors.base.toolkit.http import VendorClient
from connectors.base.values import Answer, Batch, Left, Located, Record, Subject, Visibility
from connectors.testing.sandbox import ApiError, Call, Result, Sandbox, route

NAME = "jobs"
TOKEN = "job-vendor-token"
CONTROL = "control@jobs.test"
_PEOPLE_PER_JOB = 100
_PERSON = "person"
CALLBACK_SECRET = "job-vendor-callback-secret"
SIGNATURE = HmacSignature(
    "X-Jobs-Signature", (Part.TIMESTAMP, b".", Part.BODY), prefix="sha256=", timestamp_header="X-Jobs-Timestamp"
)


class JobVendorSandbox(Sandbox):
    """Options: `job_seconds`. Seed: {"people": [{"id", "email", "name"}]}."""

    name = NAME

    def empty_state(self) -> dict[str, Any]:
        return {"people": {"p-control": {"id": "p-control", "email": CONTROL, "name": "Control"}}, "jobs": {}}

    def seed(self, data: Any) -> None:
        for row in data["people"]:
            self.state["people"][row["id"]] = dict(row)

    def authorize(self, call: Call) -> None:
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            raise ApiError(401, {"error": "unauthorized"})

    def records(self) -> list[dict[str, Any]]:
        self._work()
        return [{"object": _PERSON, **row} for row in self.state["people"].values() if row["email"] != CONTROL]

    def blind(self, call: Call, result: Result) -> Result:
        return Result(200, {"people": []}) if call.path in ("/search", "/lookup") else result

    def handle(self, call: Call) -> Result:
        self._work()
        return super().handle(call)

    def call_back(self, url: str, job: str, *, says: str = "done", at: datetime | None = None, **more: str) -> int:
        """Tell somebody over HTTP that a job has moved, true or not. Returns the status of the answer."""
        return self.send_callback(url, self.signed_callback(job, says=says, at=at, **more))

    def signed_callback(
        self, job: str, *, says: str = "done", at: datetime | None = None, secret: str = CALLBACK_SECRET
    ) -> CallbackCall:
        """The call that this vendor makes."""
        body = f'{{ "job" : "{job}",\n  "state" : "{says}" }}\n'.encode()
        stamp = str(int((at or self.now()).timestamp()))
        signature = SIGNATURE.sign(body, SecretStr(secret), stamp)
        return CallbackCall({"x-jobs-signature": signature, "x-jobs-timestamp": stamp}, body)

    def send_callback(self, url: str, call: CallbackCall) -> int:
        """Make a call, genuine or not."""
        headers = {"content-type": "application/json", **call.headers}
        return httpx.post(url, content=call.body, headers=headers, timeout=30).status_code

    def references(self) -> list[str]:
        """The reference of every job that was ever opened."""
        return [job["reference"] for job in self.state["jobs"].values()]

    def _work(self) -> None:
        for job in self.state["jobs"].values():
            if not job["done"] and datetime.fromisoformat(job["done_at"]) <= self.now():
                job["done"] = True
                for person_id in job["people"]:
                    self.state["people"].pop(person_id, None)

    @route("POST", "/search")
    def search(self, call: Call) -> Result:
        wanted = {email.casefold() for email in call.json()["emails"]}
        return Result(200, {"people": [p for p in self.state["people"].values() if p["email"].casefold() in wanted]})

    @route("POST", "/lookup")
    def lookup(self, call: Call) -> Result:
        wanted = call.json()["ids"]
        return Result(200, {"people": [self.state["people"][i] for i in wanted if i in self.state["people"]]})

    @route("POST", "/jobs")
    def open_job(self, call: Call) -> Result:
        order = call.json()
        if not order["people"] or len(order["people"]) > _PEOPLE_PER_JOB:
            return Result(400, {"error": "1 to 100 people"})
        job = f"j-{len(self.state['jobs']) + 1}"
        done_at = self.now() + timedelta(seconds=self.options.get("job_seconds", 0))
        self.state["jobs"][job] = {**order, "done_at": done_at.isoformat(), "done": False}
        return Result(202, {"job": job})

    @route("GET", "/jobs")
    def list_jobs(self, call: Call) -> Result:
        found = [name for name, job in self.state["jobs"].items() if job["reference"] == call.query["reference"]]
        return Result(200, {"jobs": found})

    @route("GET", "/jobs/{id}")
    def show_job(self, call: Call) -> Result:
        job = self.state["jobs"].get(call.path_values["id"])
        if job is None:
            return Result(404, {"error": "no_such_job"})
        return Result(200, {"done": job["done"]})


class JobVendorCredentials(SystemModel):
    """`token`: the bearer token. `callback_secrets`: what this vendor signs with."""

    token: SecretStr
    callback_secrets: CallbackSecrets = ()


class JobVendorConnector(Connector):
    """One account. The token holds the orders of this batch: reference, people, and the job's id as soon as known."""

    declaration = Declaration(
        name=NAME,
        identifier_kinds=frozenset({"email"}),
        operations=frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM}),
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call=dict.fromkeys((Operation.LOCATE, Operation.ERASE, Operation.CONFIRM), _PEOPLE_PER_JOB),
        delays=Delays(poll_every=timedelta(seconds=1)),
        sends_callbacks=True,
    )
    Credentials: ClassVar[type[BaseModel]] = JobVendorCredentials

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        assert isinstance(system.credentials, JobVendorCredentials)
        headers = {"authorization": f"Bearer {system.credentials.token.get_secret_value()}"}
        self._client = VendorClient.for_system(system, headers=headers)

    @property
    def calls(self) -> int:
        return self._client.calls

    def close(self) -> None:
        self._client.close()

    @classmethod
    def read_callback(cls, system: SystemConfig, call: CallbackCall, now: datetime) -> Callback:
        assert isinstance(system.credentials, JobVendorCredentials)
        SIGNATURE.check(call, system.credentials.callback_secrets, now)
        job = json_body(call).get("job")
        return Callback.of([job]) if isinstance(job, str) else Callback.of_nothing()

    def check_credentials(self) -> Visibility:
        if not self._search([CONTROL]):
            raise CredentialsRefused("no_visibility")
        return Visibility("control_record")

    def locate(self, batch: Batch) -> Findings:
        return {ref: Located(records, {_PERSON: len(records)}) for ref, records in self._found(batch).items()}

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        orders: list[dict[str, Any]] = json.loads(lease.resume_token or b"[]")
        answers: dict[str, Any] = {}
        for order in orders:
            if order["job"] is None:
                # A process died between the order and the job's id: the vendor knows whether it opened one.
                found = self._client.request("GET", "/jobs", expect=(200,), params={"reference": order["reference"]})
                order["job"] = next(iter(found.field("jobs", list)), None) or self._open(order)
                lease.save(json.dumps(orders).encode())
        ordered = {person for order in orders for person in order["people"]}
        asked = [s for s in batch.subjects if not set(s.record_ids(_PERSON)) <= ordered]
        answers |= {s.ref: TemporarilyUnavailable("stopped") for s in asked if not lease.may_proceed(s.ref)}
        people = [i for s in asked if s.ref not in answers for i in s.record_ids(_PERSON)]
        if people:
            order = {"reference": f"{batch.key}/{len(orders)}", "people": people, "job": None}
            orders.append(order)
            lease.save(json.dumps(orders).encode())
            order["job"] = self._open(order)
            lease.save(json.dumps(orders).encode())
        running = {i: order["job"] for order in orders if not self._is_done(order["job"]) for i in order["people"]}
        return answers | {s.ref: self._answer(s, running) for s in batch.subjects if s.ref not in answers}

    def confirm_absence(self, batch: Batch) -> Answers:
        found = self._found(batch)
        known = [i for s in batch.subjects for i in s.record_ids(_PERSON)]
        reply = self._client.request("POST", "/lookup", expect=(200,), json_body={"ids": known})
        there = {p["id"] for p in reply.field("people", list)}
        answers: dict[str, Answer] = {}
        for subject in batch.subjects:
            left = [i for i in subject.record_ids(_PERSON) if i in there]
            new = tuple(r for r in found[subject.ref] if r.id not in subject.record_ids(_PERSON))
            marks = tuple(Left(_PERSON, i, "still_there") for i in [*left, *(r.id for r in new)])
            still = Answer.partial(marks, found=Located(new) if new else None) if marks else None
            answers[subject.ref] = still or Answer.already_absent()
        return answers

    def _answer(self, subject: Subject, running: Mapping[str, str]) -> Answer:
        if jobs := {running[i] for i in subject.record_ids(_PERSON) if i in running}:
            return Answer.accepted(datetime.now(UTC) + self.delay("poll_every"), resumes=True, jobs=jobs)
        return Answer.erased({_PERSON: len(subject.record_ids(_PERSON))})

    def _open(self, order: dict[str, Any]) -> str:
        body = {"reference": order["reference"], "people": order["people"]}
        return self._client.request("POST", "/jobs", expect=(202,), json_body=body).field("job", str)

    def _is_done(self, job: str) -> bool:
        return self._client.request("GET", f"/jobs/{job}", expect=(200,)).field("done", bool)

    def _found(self, batch: Batch) -> dict[str, tuple[Record, ...]]:
        emails = {email.casefold(): s.ref for s in batch.subjects for email in s.values("email")}
        found: dict[str, list[Record]] = {s.ref: [] for s in batch.subjects}
        for person in self._search(list(emails)):
            found[emails[person["email"].casefold()]].append(Record(_PERSON, person["id"]))
        return {ref: tuple(records) for ref, records in found.items()}

    def _search(self, emails: Sequence[str]) -> list[Any]:
        reply = self._client.request("POST", "/search", expect=(200,), json_body={"emails": list(emails)})
        return reply.field("people", list)
