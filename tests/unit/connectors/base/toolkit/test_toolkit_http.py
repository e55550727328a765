"""The HTTP client: statuses become the four errors, limits hold, nothing of a URL or a body gets out."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from connectors.base.destinations import NetworkRules
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.pacing import LONGEST_RETRY_AFTER_SECONDS, retry_after_seconds
from connectors.base.toolkit.http import VendorClient, field_of
from connectors.testing.sandbox import SandboxServer
from connectors.testing.sandbox.faults import Fault, FaultKind
from tests.unit.connectors.testing.tiny_sandbox import TinySandbox

HERE = NetworkRules(allow_private_hosts=frozenset({"127.0.0.1"}))
CANARY = "ada.canary@example.test"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[TinySandbox, str]]:
    sandbox = TinySandbox()
    with SandboxServer({"": sandbox}) as server:
        yield sandbox, server.url()


@pytest.fixture
def sandbox(served: tuple[TinySandbox, str]) -> TinySandbox:
    found = served[0]
    found.state, found.faults = found.empty_state(), []
    found.seed({"1": "one"})
    return found


@pytest.fixture
def client(served: tuple[TinySandbox, str], sandbox: TinySandbox) -> Iterator[VendorClient]:
    made = VendorClient(served[1], network=HERE, headers={"x-key": "tiny"})
    yield made
    made.close()


def status(code: int, **more: Any) -> Fault:
    return Fault(FaultKind.STATUS, status=code, times=None, body={"error": CANARY}, **more)


def test_an_expected_answer_is_parsed_and_counted(client: VendorClient) -> None:
    reply = client.request("GET", "/things", expect=(200,), params={"q": "o'brien+x@example.test"})
    assert reply.field("things", list) == ["1"]
    assert reply.body["asked"] == "o'brien+x@example.test"
    assert client.request("DELETE", "/things/1", expect=(204,)).body is None
    assert client.request("GET", "/things/1", expect=(200, 404)).status == 404
    assert client.calls == 3


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        (401, CredentialsRefused, "unauthorized"),
        (403, CredentialsRefused, "forbidden"),
        (404, RequestRefused, "refused"),
        (409, RequestRefused, "refused"),
        (408, TemporarilyUnavailable, "vendor_unavailable"),
        (425, TemporarilyUnavailable, "vendor_unavailable"),
        (429, TemporarilyUnavailable, "rate_limited"),
        (500, TemporarilyUnavailable, "vendor_unavailable"),
        (503, TemporarilyUnavailable, "vendor_unavailable"),
        (202, AnswerNotUnderstood, "unexpected_success"),
    ],
)
def test_statuses(client: VendorClient, sandbox: TinySandbox, code: int, kind: type[ConnectorError], name: str) -> None:
    sandbox.faults = [status(code)]
    with pytest.raises(kind) as raised:
        client.request("GET", f"/things/{CANARY}", expect=(200,))
    assert (raised.value.code, raised.value.status) == (name, code)
    assert not raised.value.effect_unknown


@pytest.mark.parametrize("code", [500, 503, 202])
def test_a_change_that_may_have_happened_is_unknown(client: VendorClient, sandbox: TinySandbox, code: int) -> None:
    sandbox.faults = [status(code)]
    with pytest.raises(ConnectorError) as raised:
        client.request("DELETE", "/things/1", expect=(204,))
    assert raised.value.effect_unknown


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (Fault(FaultKind.HTML), AnswerNotUnderstood, "not_json"),
        (Fault(FaultKind.HUGE, seconds=11), AnswerNotUnderstood, "body_too_large"),
        (Fault(FaultKind.REDIRECT), AnswerNotUnderstood, "redirect"),
        (Fault(FaultKind.DROP_BEFORE), TemporarilyUnavailable, "connection_lost"),
        (Fault(FaultKind.DROP_AFTER), TemporarilyUnavailable, "connection_lost"),
        (Fault(FaultKind.HALF_BODY), TemporarilyUnavailable, "connection_lost"),
    ],
)
def test_broken_answers(
    client: VendorClient, sandbox: TinySandbox, fault: Fault, kind: type[ConnectorError], code: str
) -> None:
    sandbox.faults = [Fault(fault.kind, seconds=fault.seconds)]
    with pytest.raises(kind) as raised:
        client.request("GET", "/things", expect=(200,))
    assert raised.value.code == code


def test_a_systems_own_timeout(served: tuple[TinySandbox, str], sandbox: TinySandbox) -> None:
    sandbox.faults = [Fault(FaultKind.STALL, seconds=1.0)]
    hasty = VendorClient(served[1], network=HERE, headers={"x-key": "tiny"}, timeout_seconds=0.1)
    with pytest.raises(TemporarilyUnavailable, match="timeout") as raised:
        hasty.request("DELETE", "/things/1", expect=(204,))
    assert raised.value.effect_unknown
    hasty.close()


def test_no_connection_is_no_effect() -> None:
    nobody = VendorClient("http://127.0.0.1:9", network=HERE)
    with pytest.raises(TemporarilyUnavailable, match="no_connection") as raised:
        nobody.request("DELETE", "/things/1", expect=(204,))
    assert not raised.value.effect_unknown
    nobody.close()


def test_refine_sees_unexpected_answers_first(served: tuple[TinySandbox, str], sandbox: TinySandbox) -> None:
    sandbox.faults = [status(403)]
    refined = VendorClient(served[1], network=HERE, refine=lambda r: TemporarilyUnavailable("throttled"))
    with pytest.raises(TemporarilyUnavailable, match="throttled"):
        refined.request("GET", "/things", expect=(200,))
    refined.close()


def test_nothing_personal_in_errors_or_logs(
    client: VendorClient, sandbox: TinySandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for fault in (status(400), status(500), Fault(FaultKind.HTML), Fault(FaultKind.DROP_AFTER), status(302)):
        sandbox.faults = [fault]
        with pytest.raises(ConnectorError) as raised:
            client.request("POST", f"/things/{CANARY}", expect=(200,), json_body={"email": CANARY})
        assert CANARY not in "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert CANARY not in caplog.text


def test_a_download_elsewhere_carries_no_credential(served: tuple[TinySandbox, str], sandbox: TinySandbox) -> None:
    sandbox.journal.clear()
    elsewhere = VendorClient("http://127.0.0.1:9", network=HERE, auth=("user", "secret"))
    with pytest.raises(CredentialsRefused):
        elsewhere.download("GET", f"{served[1]}/things")
    here = VendorClient(served[1], network=HERE, auth=("user", "secret"), headers={"x-key": "tiny"})
    assert here.download("GET", "/things").startswith(b"{")
    assert len(sandbox.journal) == 2
    for client in (elsewhere, here):
        client.close()


def test_retry_after_in_both_forms() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert retry_after_seconds({"retry-after": " 7 "}) == 7
    assert retry_after_seconds({"retry-after": format_datetime(now + timedelta(seconds=90), usegmt=True)}, now) == 90
    assert retry_after_seconds({"retry-after": format_datetime(now - timedelta(seconds=90), usegmt=True)}, now) == 0
    assert retry_after_seconds({"retry-after": "99999999"}) == LONGEST_RETRY_AFTER_SECONDS
    assert retry_after_seconds({"retry-after": "soon"}) is None
    assert retry_after_seconds({}) is None


@pytest.mark.parametrize("body", [None, [], {"n": "1"}, {"n": True}, {}])
def test_a_field_of_another_form_is_not_understood(body: Any) -> None:
    with pytest.raises(AnswerNotUnderstood, match="field_missing:n"):
        field_of(body, "n", int)
