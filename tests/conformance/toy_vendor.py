"""The toy vendor's connector, right and wrong: each bug of `BUGS` is one that a real connector could have."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import SecretStr
from toy_sandbox import CONTROL, TOKEN, ToySandbox

from connectors.base.callbacks import Callback, CallbackCall
from connectors.base.config import SystemConfig, SystemModel
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    LeaseLost,
    TemporarilyUnavailable,
)
from connectors.base.interface import Answers, Connector, Declaration, Delays, ErasesBy, Findings, Lease, Operation
from connectors.base.toolkit.callbacks import CallbackSecrets, Encoding, HmacSignature, Part, json_body
from connectors.base.toolkit.counting import unreported
from connectors.base.toolkit.http import VendorClient
from connectors.base.values import (
    Answer,
    Batch,
    ChangedRecord,
    ChangePage,
    Identifier,
    Left,
    Located,
    Record,
    Subject,
    Visibility,
)
from connectors.testing.conformance import HttpVendorFixture, TestPerson
from connectors.testing.sandbox import Sandbox

BUGS = (
    "trusts_200",
    "fuzzy_match",
    "first_page_only",
    "any_404_is_absence",
    "forgets_the_token",
    "ignores_holds",
    "asks_once",
    "root_first",
    "no_control_record",
    "one_hold_stops_all",
    "swallows_lease_lost",
    "loses_retry_after",
    "erases_unplanned",
    "asks_about_neighbours",
    "logs_the_email",
    "calls_unpaced",
    "signature_unchecked",
    "body_written_again",
    "no_replay_window",
    "newest_secret_only",
    "names_no_job",
    "tells_twice",
    "forgets_what_it_did",
    "tells_one_page",
    "passes_over_the_next",
    "cursor_names_people",
    "tells_the_erased",
)
SIGNATURE = HmacSignature(
    "X-Toy-Signature", (Part.TIMESTAMP, b".", Part.BODY), Encoding.BASE64, timestamp_header="X-Toy-Timestamp"
)


class ToyCredentials(SystemModel):
    token: SecretStr
    callback_secrets: CallbackSecrets = ()


class ToyConnector(Connector):
    declaration = Declaration(
        name="toy",
        identifier_kinds=frozenset({"email"}),
        operations=frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM}),
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call={Operation.LOCATE: 10, Operation.ERASE: 10, Operation.CONFIRM: 10},
        delays=Delays(confirm_after=timedelta(0), poll_every=timedelta(seconds=0.05)),
        sends_callbacks=True,
        reports_changes=True,
    )
    Credentials = ToyCredentials
    bugs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        assert isinstance(system.credentials, ToyCredentials)
        headers = {"authorization": f"Bearer {system.credentials.token.get_secret_value()}"}
        refine = (
            (lambda r: TemporarilyUnavailable("late") if r.status_code == 429 else None)
            if ("loses_retry_after" in self.bugs)
            else None
        )
        self._client = VendorClient(
            system.base_url,
            headers=headers,
            timeout_seconds=system.timeout_seconds,
            deadline_seconds=system.deadline_seconds,
            network=system.network,
            refine=refine,
            pacer=None if "calls_unpaced" in self.bugs else system.pacer,
        )

    @property
    def calls(self) -> int:
        return self._client.calls

    def close(self) -> None:
        self._client.close()

    @classmethod
    def read_callback(cls, system: SystemConfig, call: CallbackCall, now: datetime) -> Callback:
        assert isinstance(system.credentials, ToyCredentials)
        scheme, secrets = SIGNATURE, system.credentials.callback_secrets
        if "body_written_again" in cls.bugs:
            call = replace(call, body=json.dumps(json_body(call)).encode())
        if "no_replay_window" in cls.bugs:
            scheme = replace(scheme, tolerance=timedelta(days=10_000))
        if "newest_secret_only" in cls.bugs:
            secrets = secrets[:1]
        if "signature_unchecked" not in cls.bugs:
            scheme.check(call, secrets, now)
        return Callback.of([json_body(call)["job"]])

    def check_credentials(self) -> Visibility:
        if self.bugs & {"no_control_record", "any_404_is_absence"}:
            self._client.request("GET", "/whoami", expect=(200, 404))
            return Visibility("token")
        if CONTROL["id"] not in [p["id"] for p in self._pages("/people", query=CONTROL["email"])]:
            raise CredentialsRefused("no_visibility")
        return Visibility("control_record")

    def locate(self, batch: Batch) -> Findings:
        return {s.ref: self._attempt(lambda s=s: self._located(s)) for s in batch.subjects}

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        saved = None if "forgets_the_token" in self.bugs else lease.resume_token
        token = json.loads(saved or b'{"jobs": {}, "begun": {}, "before": {}}')
        if "one_hold_stops_all" in self.bugs and not all(lease.may_proceed(s.ref) for s in batch.subjects):
            raise TemporarilyUnavailable("stopped")
        return {s.ref: self._attempt(lambda s=s: self._erased(s, lease, token)) for s in batch.subjects}

    def confirm_absence(self, batch: Batch) -> Answers:
        return {s.ref: self._attempt(lambda s=s: self._confirmed(s)) for s in batch.subjects}

    def changed_since(self, cursor: str | None, begin_at: datetime) -> ChangePage:
        since = int((cursor or "0").split()[0])
        reply = self._client.request("GET", "/changes", expect=(200,), params={"since": since})
        items = reply.field("items", list)
        seen = tuple(
            ChangedRecord(
                Record("people", p["id"]),
                (Identifier("email", p["email"]),),
                begin_at + timedelta(seconds=p["number"]),
            )
            for p in items
            if p["is_there"] or "tells_the_erased" in self.bugs
        )
        following = reply.body.get("next")
        end = following if following is not None else max((p["number"] for p in items), default=since)
        if "passes_over_the_next" in self.bugs:
            end += 1
        told = f"{end} {items[0]['id']}" if "cursor_names_people" in self.bugs and items else str(end)
        return ChangePage(seen, told, more=following is not None and "tells_one_page" not in self.bugs)

    def _attempt(self, work: Any) -> Any:
        try:
            return work()
        except LeaseLost:
            if "swallows_lease_lost" not in self.bugs:
                raise
            return TemporarilyUnavailable("stopped")
        except ConnectorError as error:
            return error

    def _located(self, subject: Subject) -> Located:
        people = self._people(subject)
        notes = [n for p in people for n in self._pages(f"/people/{_quoted(p['id'])}/notes")]
        return Located(
            tuple(Record("people", p["id"]) for p in people),
            {"people": len(people), "notes": len(notes)},
            tuple(Identifier("email", p["email"]) for p in people if p["email"] not in subject.values("email")),
        )

    def _erased(self, subject: Subject, lease: Lease, token: dict[str, Any]) -> Answer:
        found = [p["id"] for p in self._people(subject)]
        unplanned = tuple(Record("people", i) for i in found if i not in subject.record_ids("people"))
        if unplanned and "erases_unplanned" in self.bugs:
            subject, unplanned = replace(subject, records=unplanned), ()
        if unplanned:
            left = tuple(Left(r.object, r.id, "not_in_plan") for r in unplanned)
            return Answer.partial(left, found=Located(unplanned))
        self._ask(lease, subject, first=True)
        token["before"].setdefault(subject.ref, dict(subject.already_reported))
        begun = token["begun"].setdefault(subject.ref, {"people": [], "notes": []})
        if "forgets_what_it_did" in self.bugs:
            begun |= {"people": [], "notes": []}
        for person_id in subject.record_ids("people"):
            if not token["jobs"].get(person_id) and not self._is_there(person_id):
                continue
            if "root_first" in self.bugs:
                notes = self._pages(f"/people/{_quoted(person_id)}/notes")
                running = self._erase_root(person_id, subject, lease, token)
                self._erase_notes(notes, subject, lease)
            else:
                notes = [] if token["jobs"].get(person_id) else self._pages(f"/people/{_quoted(person_id)}/notes")
                self._begin(begun, lease, token, people=[person_id], notes=[n["id"] for n in notes])
                self._erase_notes(notes, subject, lease)
                # The root leads to the notes: it goes only when a look has seen that none is left.
                looks = bool(notes) and "trusts_200" not in self.bugs
                if looks and (still := self._pages(f"/people/{_quoted(person_id)}/notes")):
                    return Answer.partial(tuple(Left("notes", n["id"], "still_there") for n in still))
                running = self._erase_root(person_id, subject, lease, token)
            if running:
                jobs = () if "names_no_job" in self.bugs else (token["jobs"][person_id],)
                look_again_at = datetime.now(UTC) + self.delay("poll_every")
                told = self._told(subject, token, {"notes": len(begun["notes"])})
                return Answer.accepted(look_again_at, resumes=True, jobs=jobs, records=told)
        told = self._told(subject, token, {name: len(ids) for name, ids in begun.items()})
        return Answer.erased(told) if begun["people"] else Answer.already_absent()

    def _begin(self, begun: dict[str, list[str]], lease: Lease, token: dict[str, Any], **ids: list[str]) -> None:
        """Saved before the first effect: once it is gone, nothing but this says that it was there."""
        for name, some in ids.items():
            begun[name] = sorted({*begun[name], *some})
        if "forgets_the_token" not in self.bugs:
            lease.save(json.dumps(token).encode())

    def _told(self, subject: Subject, token: dict[str, Any], counts: dict[str, int]) -> dict[str, int]:
        return (
            counts
            if "tells_twice" in self.bugs
            else unreported(counts, token["before"][subject.ref], subject.already_reported)
        )

    def _erase_notes(self, notes: list[Any], subject: Subject, lease: Lease) -> None:
        for note in notes:
            self._ask(lease, subject)
            self._client.request("DELETE", f"/notes/{_quoted(note['id'])}", expect=(204, 404))

    def _erase_root(self, person_id: str, subject: Subject, lease: Lease, token: dict[str, Any]) -> bool:
        """True while the vendor's job runs."""
        if not token["jobs"].get(person_id):
            self._ask(lease, subject)
            reply = self._client.request("POST", "/erasures", expect=(202, 404), json_body={"person": person_id})
            if reply.status == 404:
                self._no_such_person(reply.body)
                return False
            token["jobs"][person_id] = reply.field("job", str)
            if "forgets_the_token" not in self.bugs:
                lease.save(json.dumps(token).encode())
        if "trusts_200" in self.bugs:
            return False
        path = f"/jobs/{_quoted(token['jobs'][person_id])}"
        return not self._client.request("GET", path, expect=(200,)).field("done", bool)

    def _ask(self, lease: Lease, subject: Subject, *, first: bool = False) -> None:
        if self.bugs & {"ignores_holds"} or first != ("asks_once" in self.bugs):
            return
        if not lease.may_proceed(subject.ref):
            raise TemporarilyUnavailable("stopped")

    def _confirmed(self, subject: Subject) -> Answer:
        if "trusts_200" in self.bugs:
            return Answer.already_absent()
        known = subject.record_ids("people")
        left = [i for i in known if self._is_there(i)]
        new = [p["id"] for p in self._people(subject) if p["id"] not in known]
        if left or new:
            return Answer.partial(
                tuple(Left("people", i, "still_there") for i in left + new),
                found=Located(tuple(Record("people", i) for i in new)) if new else None,
            )
        return Answer.already_absent()

    def _is_there(self, person_id: str) -> bool:
        reply = self._client.request("GET", f"/people/{_quoted(person_id)}", expect=(200, 404))
        if reply.status == 404:
            self._no_such_person(reply.body)
        elif reply.field("id", str) != person_id:
            raise AnswerNotUnderstood("other_person")
        return reply.status == 200

    def _no_such_person(self, body: Any) -> None:
        if "any_404_is_absence" not in self.bugs and body != {"error": "no_such_person"}:
            raise AnswerNotUnderstood("not_found", status=404)

    def _people(self, subject: Subject) -> list[Any]:
        people: dict[str, Any] = {}
        for email in subject.values("email"):
            if "logs_the_email" in self.bugs:
                logging.getLogger("toy").info("searching for %s", email)
            for person in self._pages("/people", query=email):
                if "asks_about_neighbours" in self.bugs:
                    self._pages("/people", query=person["email"])
                if "fuzzy_match" in self.bugs or person["email"].casefold() == email.casefold():
                    people[person["id"]] = person
        return list(people.values())

    def _pages(self, path: str, **params: str) -> list[Any]:
        return list(self._each_page(path, params))

    def _each_page(self, path: str, params: dict[str, str]) -> Iterator[Any]:
        page: int | None = 1
        while page is not None:
            expect = (200, 404) if "any_404_is_absence" in self.bugs else (200,)
            reply = self._client.request("GET", path, expect=expect, params={**params, "page": page})
            if reply.status == 404:
                return
            yield from reply.field("items", list)
            page = None if "first_page_only" in self.bugs else reply.body.get("next")


def _quoted(value: str) -> str:
    return quote(value, safe="")


class ToyFixture(HttpVendorFixture):
    name = "toy"
    related_over_pages = 5
    roots_over_pages = 9

    def __init__(self, bug: str | None = None) -> None:
        bugs = frozenset({bug} if bug else ())
        self._kind: type[Connector] = type("ToyConnector", (ToyConnector,), {"bugs": bugs, "__module__": __name__})

    def connector(self) -> type[Connector]:
        return self._kind

    def sandbox_class(self) -> type[Sandbox]:
        return ToySandbox

    def system(self, base_url: str) -> dict[str, Any]:
        return {"name": "toy", "connector": "toy", "base_url": base_url, "credentials": {"token": TOKEN}}

    def account(self) -> Any:
        return {"people": [CONTROL]}

    def people(self, people: Sequence[TestPerson]) -> Any:
        rows = [
            {"id": f"p-{p.ref}" + (f"-{n}" if n else ""), "email": p.identifier.value, "name": p.name}
            for p in people
            for n in range(p.roots)
        ]
        notes = [
            {"id": f"n-{p.ref}-{n}", "person": f"p-{p.ref}", "text": f"about {p.name}"}
            for p in people
            for n in range(p.related)
        ]
        return {"people": rows, "notes": notes}

    def slow_options(self) -> dict[str, Any]:
        return {"job_seconds": 0.3}

    def callback(self, job: str, body_padding: str, at: datetime, *, secret: str) -> CallbackCall:
        body = f'{{{body_padding}"job":{body_padding}"{job}"}}{body_padding}'.encode()
        stamp = str(int(at.timestamp()))
        signature = SIGNATURE.sign(body, SecretStr(secret), stamp)
        return CallbackCall({"x-toy-signature": signature, "x-toy-timestamp": stamp}, body)

    def crowd(self, person: TestPerson) -> Sequence[TestPerson]:
        local, _, domain = person.identifier.value.rpartition("@")
        others = [Identifier("email", f"{local}+{n}@{domain}") for n in range(5)]
        return [
            replace(person, ref=f"{n}-crowd", identifier=other, name=f"{person.name}x{n}")
            for n, other in enumerate(others)
        ]
