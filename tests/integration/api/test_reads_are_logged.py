"""Every door through which a person or a key reads personal data, or takes evidence out, says so in the log.

Walks all routes and all commands: one that isn't in the tables below fails, so whoever adds a door decides here.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import typer
from typer.testing import CliRunner

from service.cli.main import app as commands
from service.domain.audit.entry import decode_entry
from service.store.encryption.secrets import audit_signing_key
from tests.integration.api.conftest import EMAIL, Office
from tests.integration.api.test_commands import config as config

MASK = "a***@e***.test"
NEVER = "never"
"""Nothing personal is in the answer, which is checked, and nothing is logged."""

Call = Callable[[Office, UUID], Any]


def _get(path: str) -> Call:
    return lambda office, request: office.call(
        "GET",
        path.format(
            request=request,
            hold=_first(office, "holds"),
            step=_first(office, "steps"),
            imported=_first(office, "imports"),
        ),
    )


def _post(path: str, body: Any = None) -> Call:
    return lambda office, request: office.call("POST", path.format(request=request), body)


def _first(office: Office, table: str) -> str:
    (row,) = office.rows(f"SELECT id FROM {table} ORDER BY id LIMIT 1")
    return str(row.id)


def _place(office: Office, *values: str) -> Any:
    identifiers = [{"kind": "email", "value": value} for value in values]
    return office.call("POST", "/v1/holds", {"identifiers": identifiers, "reason": "litigation"})


def _import(office: Office, key: str) -> Any:
    """One line that is accepted and one that is refused, both about a person."""
    lines = [json.dumps(office.submission(f"{key}.lovelace@example.test")), json.dumps({"kind": EMAIL})]
    headers = {"Content-Type": "application/jsonl", "Idempotency-Key": key}
    headers["Authorization"] = f"Bearer {office.key.token}"
    return office.client.post("/v1/requests/batch", content="\n".join(lines) + "\n", headers=headers)


# What each operation must have logged under the caller's name once it was answered: the event, or NEVER.
OPERATIONS: dict[str, tuple[Call, str]] = {
    "submitRequest": (lambda o, _: o.call("POST", "/v1/requests", o.submission("x@example.test")), "request_submitted"),
    "listRequests": (_get("/v1/requests"), NEVER),
    "showRequest": (_get("/v1/requests/{request}"), "evidence_read"),
    "lookupSubject": (
        _post("/v1/requests/lookup", {"identifier": {"kind": "email", "value": EMAIL}}),
        "evidence_read",
    ),
    "revealIdentifiers": (_post("/v1/requests/{request}/reveal"), "evidence_read"),
    "issueCertificate": (_get("/v1/requests/{request}/certificate"), "certificate_issued"),
    "printCertificate": (_get("/v1/requests/{request}/certificate.pdf"), "certificate_issued"),
    "exportAudit": (_get("/v1/audit/export"), "export_made"),
    "signAuditExport": (_get("/v1/audit/export/manifest?format=csv"), "evidence_read"),
    "reportFromAudit": (_get("/v1/audit/reports/metrics?period=2026"), "evidence_read"),
    "placeHold": (lambda o, _: _place(o, "y@example.test"), "hold_placed"),
    "listHolds": (_get("/v1/holds"), NEVER),
    "showHold": (_get("/v1/holds/{hold}"), NEVER),
    "liftHold": (
        lambda o, _: o.call("DELETE", f"/v1/holds/{_first(o, 'holds')}?reason=matter_closed"),
        "hold_released",
    ),
    "listSteps": (_get("/v1/steps"), NEVER),
    "showStep": (_get("/v1/steps/{step}"), NEVER),
    "importRequests": (lambda o, _: _import(o, "import-2"), "import_begun"),
    "listImports": (_get("/v1/imports"), NEVER),
    "showImport": (_get("/v1/imports/{imported}"), NEVER),
    "listRefusedLines": (_get("/v1/imports/{imported}/refused"), NEVER),
    "checkSuppressions": (_post("/v1/suppressions/check", {"items": [{"kind": "email", "value": EMAIL}]}), NEVER),
    "listSystems": (_get("/v1/systems"), NEVER),
    "readMetrics": (_get("/metrics"), NEVER),
    "describeApi": (_get("/openapi.json"), NEVER),
    "isAlive": (_get("/healthz"), NEVER),
    "isReady": (_get("/readyz"), NEVER),
}
# Decisions answer with masks; the decision's own entry says who saw them (each one's is asserted in test_decisions).
DECISIONS = {"reviewRequest", "approvePlan", "denyRequest", "revokeRequest", "extendRequest", "expediteRequest"}
DECISIONS |= {"resolveStep", "retryStep", "retrySteps"}
# These answer with counts only (as showImport does); their entries are asserted in test_imports.
DECISIONS |= {"pauseImport", "resumeImport", "cancelImport"}
# Answers with nothing at all, to whoever holds a system's secret (test_callbacks).
DECISIONS |= {"hearCallback"}


@pytest.fixture
def request_id(office: Office) -> UUID:
    """An answered request that isn't sealed yet, and a hold about somebody else."""
    made = office.submit(EMAIL)
    office.put(made, state="fulfilled", reason=None, answered_at=datetime.now(UTC), next_action=None, due_at=None)
    office.add_step(made, state="parked", reason="still_there", due_at=None)
    _place(office, "somebody.else@example.test")
    assert _import(office, "import-1").status_code == 202
    return made


def test_the_log_names_the_reader(office: Office, request_id: UUID) -> None:
    described = office.call("GET", "/openapi.json").json()["paths"]
    known = {operation["operationId"] for methods in described.values() for operation in methods.values()}
    assert known == OPERATIONS.keys() | DECISIONS
    for operation, (call, event) in OPERATIONS.items():
        before = logged_by(office)
        answer = call(office, request_id)
        assert 200 <= answer.status_code < 300, (operation, answer.text)
        told = logged_by(office)[len(before) :]
        if event == NEVER:
            assert told == [], operation
            assert_nothing_personal(answer.text, operation)
        else:
            assert event in told, operation


def test_a_view_of_a_request_logs_the_masks_it_reads(office: Office, request_id: UUID) -> None:
    before = logged_by(office)
    bare = office.call("GET", f"/v1/requests/{request_id}?masks=false")
    assert bare.json()["identifiers"] == []
    assert_nothing_personal(bare.text, "a view without identifiers")
    assert logged_by(office) == before

    assert MASK in office.call("GET", f"/v1/requests/{request_id}").text
    entry = entries(office)[-1]
    (row,) = office.rows("SELECT subject FROM requests WHERE id = :id", id=request_id)
    assert (entry["object"], entry["subject"]) == ("reading", row.subject)
    assert entry["data"] == {"what": "request", "found": 1, "request": str(request_id)}

    office.put(request_id, sealed_at=datetime.now(UTC))
    office.write("UPDATE identifiers SET sealed = NULL")
    before = logged_by(office)
    assert_nothing_personal(office.call("GET", f"/v1/requests/{request_id}").text, "a sealed request")
    assert logged_by(office) == before


def assert_nothing_personal(text: str, where: str) -> None:
    for piece in (EMAIL, MASK, "lovelace", "somebody.else"):
        assert piece not in text, where


def entries(office: Office) -> list[dict[str, Any]]:
    """Sequenced or not, in the order in which they were logged."""
    rows = office.rows("SELECT entry FROM audit_leaves ORDER BY index")
    rows += office.rows("SELECT entry FROM audit_pending ORDER BY id")
    return [dict(decode_entry(bytes(row.entry))) for row in rows]


def logged_by(office: Office) -> list[str]:
    return [entry["event"] for entry in entries(office) if entry["actor"] == f"key:{office.key.id}"]


# --- commands ---------------------------------------------------------------------------------------------------------

# These ask the API with a key, so what is true of its operations is true of them.
OVER_THE_API = {
    *(f"request {verb}" for verb in ("submit", "list", "show", "lookup", "review", "approve", "deny", "revoke")),
    *(f"request {verb}" for verb in ("extend", "expedite", "reveal")),
    *(f"steps {verb}" for verb in ("list", "retry", "resolve")),
    "request import",
    *(f"holds {verb}" for verb in ("place", "list", "lift")),
    *(f"imports {verb}" for verb in ("list", "show", "pause", "resume", "cancel")),
    "systems list",
    "audit certificate",
}
# These open the stores themselves: the event that each logs as `cli` or an operator, or NEVER.
ON_THE_STORES = {
    "audit export": "export_made",
    "audit report": "evidence_read",
    "audit anchor": NEVER,
    "audit reconcile": NEVER,
    "audit replay": NEVER,
    "audit prune": NEVER,
    "audit rotate-key": "signing_key_announced",
    "keys create": "key_created",
    "keys list": NEVER,
    "systems check": NEVER,
    "keys revoke": "key_revoked",
    "encryption status": NEVER,
    "encryption rotate-epoch": "encryption_epoch_begun",
    "encryption give-up-epoch": NEVER,  # of an epoch that isn't there
    "encryption rotate-kek": NEVER,
    "encryption adopt-epochs": NEVER,  # every epoch key is known
    "encryption rotate-pepper": NEVER,  # the next start takes the pepper up, and logs it then
}
# No stores at all: files that somebody holds already, a service, or one system without the service.
WITHOUT_STORES = {"audit verify", "audit print", "connector run", "up", "workers", "demo"}
WITHOUT_STORES |= {"sandbox", "sample-warehouse"}


def walk(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for each, inner in command.commands.items():
            yield from walk(inner, f"{name} {each}".strip())
    else:
        yield name, command


ALL = dict(walk(typer.main.get_command(commands)))


def test_every_command_is_in_a_table() -> None:
    assert ALL.keys() == OVER_THE_API | ON_THE_STORES.keys() | WITHOUT_STORES


def test_commands_use_the_api_or_the_stores_as_listed() -> None:
    for name, command in ALL.items():
        taken = {parameter.name for parameter in command.params}
        assert ("url" in taken) == (name in OVER_THE_API), name
        if name in OVER_THE_API:
            assert "config" not in taken, name
            assert command.callback is not None
            assert "open_stores" not in inspect.getsource(inspect.unwrap(command.callback)), name


def test_reads_of_commands_from_the_stores_are_logged(
    office: Office, request_id: UUID, config: Path, tmp_path: Path
) -> None:
    arguments = {
        "audit export": ["--out", str(tmp_path / "out.jsonl")],
        "audit report": ["metrics", "--period", "2026", "--out", str(tmp_path / "out.html")],
        "audit prune": ["--operator", "ada"],
        "audit rotate-key": ["--operator", "ada"],
        "keys create": ["--name", "x", "--scope", "audit:read"],
        "keys revoke": [office.key.prefix],
        "encryption rotate-epoch": ["--operator", "ada"],
        "encryption adopt-epochs": ["--operator", "ada"],
        "encryption give-up-epoch": [str(uuid4()), "--operator", "ada"],
    }
    audit_signing_key(office.settings)
    for name, event in ON_THE_STORES.items():
        before = len(entries(office))
        done = CliRunner().invoke(commands, [*name.split(), *arguments.get(name, []), "--config", str(config)])
        assert done.exit_code in (0, 1), (name, done.output)
        told = {entry["event"] for entry in entries(office)[before:]}
        assert told == set() if event == NEVER else event in told, name
        assert_nothing_personal(done.output, name)
    for path in tmp_path.glob("out*"):
        assert_nothing_personal(path.read_bytes().decode(), path.name)
