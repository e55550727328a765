"""Callbacks' signatures: published examples, and everything that isn't exactly what the vendor signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from connectors.base.callbacks import Callback, CallbackCall, CallbackRefused
from connectors.base.toolkit.callbacks import CallbackSecrets, Encoding, HmacSignature, Part, TimeForm, json_body

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SECRETS = (SecretStr("the-new-secret-0"), SecretStr("the-old-secret-0"))
PLAIN = HmacSignature("X-Signature")
TIMED = HmacSignature("X-Signature", (Part.TIMESTAMP, b".", Part.BODY), timestamp_header="X-Time", prefix="v1=")
BODY = b'{ "job" : "j-1" }'


def call(
    scheme: HmacSignature, body: bytes = BODY, *, secret: int = 0, stamp: str = STAMP, **headers: str
) -> CallbackCall:
    signed = {"x-signature": scheme.sign(body, SECRETS[secret], stamp), "x-time": stamp}
    return CallbackCall(signed | headers, body)


def test_a_published_example_of_the_plain_form() -> None:
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries (read 2026-11-22)
    scheme = HmacSignature("X-Hub-Signature-256", prefix="sha256=")
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert scheme.sign(b"Hello, World!", SecretStr("It's a Secret to Everybody")) == signature


def test_a_published_example_with_time_and_base64() -> None:
    # https://developer.zendesk.com/documentation/event-connectors/webhooks/verifying/ (read 2026-11-22)
    # signs the body, then the time.
    scheme = HmacSignature(
        "X-Zendesk-Webhook-Signature",
        (Part.BODY, Part.TIMESTAMP),
        Encoding.BASE64,
        timestamp_header="X-Zendesk-Webhook-Signature-Timestamp",
        time_form=TimeForm.ISO_8601,
    )
    at, body = "2021-07-25T10:00:00Z", b'{"say": "hello"}'
    secret = SecretStr("HRkRd4BeOAoUkfZr-mhauJT64rvBASlJRoIyPsd3zeA=")
    signature = "tRDSF7URY8BLCDlaBcQ7FHu051Zk+aAB0NKMP53teMw="
    headers = {"x-zendesk-webhook-signature": signature, "x-zendesk-webhook-signature-timestamp": at}
    scheme.check(CallbackCall(headers, body), (secret,), datetime(2021, 7, 25, 10, 4, tzinfo=UTC))
    with pytest.raises(CallbackRefused, match="too_old"):
        scheme.check(CallbackCall(headers, body), (secret,), datetime(2021, 7, 25, 10, 6, tzinfo=UTC))


@pytest.mark.parametrize("scheme", [PLAIN, TIMED])
@pytest.mark.parametrize("secret", [0, 1])
def test_every_configured_secret_is_taken(scheme: HmacSignature, secret: int) -> None:
    scheme.check(call(scheme, secret=secret), SECRETS, NOW)
    scheme.check(call(scheme, b"", secret=secret), SECRETS, NOW)


@pytest.mark.parametrize("scheme", [PLAIN, TIMED])
def test_anything_else_than_what_was_signed_is_refused(scheme: HmacSignature) -> None:
    genuine = call(scheme)
    signature = genuine.headers["x-signature"]
    others = {
        "another byte": replace(genuine, body=BODY[:-1] + b"]"),
        "written again": replace(genuine, body=b'{"job": "j-1"}'),
        "a byte more": replace(genuine, body=BODY + b"\n"),
        "cut": replace(genuine, headers={**genuine.headers, "x-signature": signature[:-1]}),
        "longer": replace(genuine, headers={**genuine.headers, "x-signature": signature + "0"}),
        "empty": replace(genuine, headers={**genuine.headers, "x-signature": ""}),
        "not ASCII": replace(genuine, headers={**genuine.headers, "x-signature": "ä" * len(signature)}),
        "without prefix": replace(genuine, headers={**genuine.headers, "x-signature": signature[2:]}),
    }
    for other in others.values():
        with pytest.raises(CallbackRefused, match="wrong_signature"):
            scheme.check(other, SECRETS, NOW)
    with pytest.raises(CallbackRefused, match="wrong_signature"):
        scheme.check(genuine, (SecretStr("somebody-else-00"),), NOW)
    with pytest.raises(CallbackRefused, match="wrong_signature"):
        scheme.check(genuine, (), NOW)
    with pytest.raises(CallbackRefused, match="unsigned"):
        scheme.check(CallbackCall({}, BODY), SECRETS, NOW)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_outside_the_window_a_copy_is_refused(minutes: int) -> None:
    genuine = call(TIMED)
    TIMED.check(genuine, SECRETS, NOW + timedelta(minutes=minutes / 6 * 5))
    with pytest.raises(CallbackRefused, match="too_old"):
        TIMED.check(genuine, SECRETS, NOW + timedelta(minutes=minutes))


def test_the_time_is_signed_and_must_be_there() -> None:
    genuine = call(TIMED)
    later = str(int(NOW.timestamp()) + 3600)
    with pytest.raises(CallbackRefused, match="wrong_signature"):
        TIMED.check(replace(genuine, headers={**genuine.headers, "x-time": later}), SECRETS, NOW)
    with pytest.raises(CallbackRefused, match="unsigned"):
        TIMED.check(replace(genuine, headers={"x-signature": genuine.headers["x-signature"]}), SECRETS, NOW)
    for stamp in ("soon", "9" * 30, "2026-11-22T12:00:00"):
        for form in TimeForm:
            with pytest.raises(CallbackRefused, match=r"time_not_understood|too_old"):
                replace(TIMED, time_form=form).check(call(TIMED, stamp=stamp), SECRETS, NOW)


def test_a_scheme_that_proves_nothing_cant_be_declared() -> None:
    for signed, header in (
        ((Part.TIMESTAMP,), "X-Time"),
        ((Part.BODY,), "X-Time"),
        ((Part.TIMESTAMP, Part.BODY), None),
    ):
        with pytest.raises(ValueError, match=r"signature|timestamp"):
            HmacSignature("X-Signature", signed, timestamp_header=header)


def test_a_short_secret_is_no_secret() -> None:
    class Credentials(BaseModel):
        callback_secrets: CallbackSecrets = ()

    assert Credentials.model_validate({"callback_secrets": ["s" * 16]}).callback_secrets
    for wrong in ([""], ["short"], ["s" * 16] * 5):
        with pytest.raises(ValidationError):
            Credentials.model_validate({"callback_secrets": wrong})


@pytest.mark.parametrize("body", [b"", b"[1]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(CallbackRefused, match="body_not_understood") as refused:
        json_body(CallbackCall({}, body))
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_nothing_of_a_call_is_printed() -> None:
    seen = CallbackCall({"x-signature": "ada@example.test"}, b"ada@example.test")
    assert "ada" not in repr(seen) + repr(Callback.of(["ada@example.test"]))
    with pytest.raises(ValueError, match="code"):
        CallbackRefused("ada@example.test")
