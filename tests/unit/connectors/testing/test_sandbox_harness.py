"""The harness: routing, journal, control, faults; several stand-ins under one port do not meet."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from connectors.testing.sandbox import SandboxServer
from connectors.testing.sandbox.faults import Fault, FaultKind
from tests.unit.connectors.testing.tiny_sandbox import TinySandbox

KEY = {"x-key": "tiny"}
CONTROL = {"x-sandbox-token": "token"}


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer({"a": TinySandbox(), "b": TinySandbox()}, control_token="token") as running:
        yield running


@pytest.fixture
def a(server: SandboxServer) -> Iterator[httpx.Client]:
    for sandbox in server.sandboxes.values():
        sandbox.state, sandbox.faults = sandbox.empty_state(), []
        sandbox.journal.clear()
        sandbox.latency_seconds = 0.0
    with httpx.Client(base_url=server.url("a"), headers=KEY, verify=False, trust_env=False) as client:
        yield client


def test_routes_decode_and_prefer_literals(a: httpx.Client, server: SandboxServer) -> None:
    server.sandboxes["a"].seed({"x/y z": "odd", "first": "hidden"})
    assert a.get("/things/x%2Fy%20z").json() == {"text": "odd"}
    assert a.get("/things/first").json() == {"first": True}
    assert a.get("/nowhere").status_code == 404
    assert a.put("/things").status_code == 404
    assert a.post("/things", content=b"{}").status_code == 415
    assert a.post("/things", content=b"{", headers={"content-type": "application/json"}).status_code == 400


def test_a_mistake_in_a_stand_in_is_printed(a: httpx.Client, capfd: pytest.CaptureFixture[str]) -> None:
    assert a.post("/things", json=[1]).status_code == 500
    assert "TypeError" in capfd.readouterr().err


def test_mounts_do_not_meet(a: httpx.Client, server: SandboxServer) -> None:
    a.post("/things", json={"1": "one"})
    assert server.sandboxes["a"].records()
    assert not server.sandboxes["b"].records()
    assert not server.sandboxes["b"].journal


def test_records_are_told_by_owner_under_the_control_token_only(a: httpx.Client, server: SandboxServer) -> None:
    server.sandboxes["a"].seed({"1": "of ada", "2": "of bob"})

    assert a.post("/__sandbox__/owned", json=["ada"]).status_code == 403
    owned = a.post("/__sandbox__/owned", json=["ada"], headers=CONTROL).json()

    assert [row["id"] for row in owned] == ["1"]


def test_the_journal_holds_every_call_and_no_credential(a: httpx.Client, server: SandboxServer) -> None:
    a.get("/things", params={"q": "ada"}, headers={"authorization": "Bearer secret"})
    a.get("/things", headers={"x-key": "wrong"})
    journal = server.sandboxes["a"].journal
    assert [(c["method"], c["path"], c["status"]) for c in journal] == [
        ("GET", "/things", 200),
        ("GET", "/things", 401),
    ]
    assert journal[0]["query"] == [("q", "ada")]
    assert "secret" not in str(journal)


def test_control_needs_its_token(a: httpx.Client, server: SandboxServer) -> None:
    for path in ("state", "records", "journal", "faults"):
        assert a.get(f"/__sandbox__/{path}").status_code == 403
        assert a.get(f"/__sandbox__/{path}", headers=CONTROL).status_code == 200
    assert not server.sandboxes["a"].journal, "control is no part of the journal"


def test_control_seeds_looks_and_breaks(a: httpx.Client) -> None:
    assert a.post("/__sandbox__/seed", json={"1": "About Ada", "2": "Bob"}, headers=CONTROL).status_code == 204
    residue = a.post("/__sandbox__/residue", json=["ADA"], headers=CONTROL).json()
    assert [row["id"] for row in residue] == ["1"]
    fault = {"kind": "status", "status": 503, "retry_after": "7"}
    assert a.put("/__sandbox__/faults", json=[fault], headers=CONTROL).status_code == 204
    answer = a.get("/things")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert a.get("/things").status_code == 200, "once is once"
    assert a.put("/__sandbox__/latency", json=0.01, headers=CONTROL).status_code == 204
    assert a.get("/__sandbox__/nothing", headers=CONTROL).status_code == 404


@pytest.mark.parametrize(
    ("kind", "happened"),
    [
        (FaultKind.STATUS, False),
        (FaultKind.HTML, False),
        (FaultKind.REDIRECT, False),
        (FaultKind.LIE, False),
        (FaultKind.BLIND, False),
        (FaultKind.STALL, True),
    ],
)
def test_what_a_fault_lets_happen(a: httpx.Client, server: SandboxServer, kind: FaultKind, happened: bool) -> None:
    sandbox = server.sandboxes["a"]
    sandbox.faults = [Fault(kind)]
    a.post("/things", json={"1": "one"})
    assert bool(sandbox.records()) is happened
    assert sandbox.journal[0]["fault"] == kind.value


@pytest.mark.parametrize(
    ("kind", "happened"), [(FaultKind.DROP_BEFORE, False), (FaultKind.DROP_AFTER, True), (FaultKind.HALF_BODY, True)]
)
def test_a_cut_line(a: httpx.Client, server: SandboxServer, kind: FaultKind, happened: bool) -> None:
    sandbox = server.sandboxes["a"]
    sandbox.faults = [Fault(kind)]
    with pytest.raises(httpx.TransportError):
        a.post("/things", json={"1": "one"})
    assert bool(sandbox.records()) is happened
    assert a.get("/things").status_code == 200, "the next call is answered"


def test_a_fault_has_its_calls() -> None:
    fault = Fault(FaultKind.STATUS, methods=("GET",), path="^/x", skip=1, times=2)
    hits = [
        fault.applies(m, p) for m, p in [("GET", "/x"), ("POST", "/x"), ("GET", "/y"), ("GET", "/x"), ("GET", "/x/1")]
    ]
    assert hits == [False, False, False, True, True]
    assert not fault.applies("GET", "/x")
    for_ever = Fault(FaultKind.STATUS, times=None)
    assert all(for_ever.applies("GET", "/") for _ in range(5))


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="explode"):
        Fault("explode")  # type: ignore[arg-type]  # as it would come over the control
