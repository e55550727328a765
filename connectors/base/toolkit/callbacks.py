"""Check a callback's signature: HMAC-SHA256 over the raw body, or over a timestamp and the body.

Decides that the bytes are compared as they came (a body that was parsed and written again is another body), in constant
time, against every configured secret (two while one is being replaced), and that a signed time too far from ours is
refused. A vendor with public keys, or with no signature, isn't served here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Annotated, Any

from pydantic import Field, SecretStr

from connectors.base.callbacks import CallbackCall, CallbackRefused
from connectors.base.errors import AnswerNotUnderstood
from connectors.base.toolkit.vendor_json import parse_vendor_json

CallbackSecrets = Annotated[tuple[Annotated[SecretStr, Field(min_length=16)], ...], Field(max_length=4)]
"""The type of a `callback_secrets` credential: the newest and, while it is being replaced, the one before. An empty one
would let anybody sign."""


class Part(Enum):
    """The parts that a signature may cover beside literal bytes."""

    BODY = "body"
    TIMESTAMP = "timestamp"


class Encoding(Enum):
    """How the signature's bytes are written."""

    HEX = "hex"
    BASE64 = "base64"


class TimeForm(Enum):
    """How the signed time is written."""

    EPOCH_SECONDS = "epoch_seconds"
    ISO_8601 = "iso_8601"


@dataclass(frozen=True, slots=True)
class HmacSignature:
    """One vendor's way to sign.

    `signed`: the parts that the signature covers, in order, with literal bytes between.

    `prefix` stands before the signature in its header (`sha256=`). Without a timestamp header a copy of a call is as
    good as the call: that is the vendor's choice, and one more reason why a callback is only a hint.
    """

    signature_header: str
    signed: tuple[Part | bytes, ...] = (Part.BODY,)
    encoding: Encoding = Encoding.HEX
    prefix: str = ""
    timestamp_header: str | None = None
    time_form: TimeForm = TimeForm.EPOCH_SECONDS
    tolerance: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        if Part.BODY not in self.signed:
            raise ValueError("a signature that doesn't cover the body proves nothing")
        if (Part.TIMESTAMP in self.signed) != (self.timestamp_header is not None):
            raise ValueError("a timestamp counts if it is signed, and is signed if it counts")

    def check(self, call: CallbackCall, secrets: Sequence[SecretStr], now: datetime) -> None:
        """Pass if one of the secrets signed these very bytes at about this time. Raises CallbackRefused."""
        given = call.header(self.signature_header)
        stamp = None if self.timestamp_header is None else call.header(self.timestamp_header)
        if given is None or (self.timestamp_header is not None and stamp is None):
            raise CallbackRefused("unsigned")
        expected = [self.sign(call.body, secret, stamp) for secret in secrets]
        # Every secret is tried, also after one fits, so that the duration discloses nothing.
        fits = [hmac.compare_digest(given.strip().encode(), one.encode()) for one in expected]
        if not any(fits):
            raise CallbackRefused("wrong_signature")
        if stamp is not None and abs(self._time(stamp) - now) > self.tolerance:
            raise CallbackRefused("too_old")

    def sign(self, body: bytes, secret: SecretStr, stamp: str | None = None) -> str:
        """The header's value for this body: what the vendor does, and its stand-in."""
        values = {Part.BODY: body, Part.TIMESTAMP: (stamp or "").encode()}
        message = b"".join(part if isinstance(part, bytes) else values[part] for part in self.signed)
        digest = hmac.new(secret.get_secret_value().encode(), message, hashlib.sha256).digest()
        text = digest.hex() if self.encoding is Encoding.HEX else base64.b64encode(digest).decode()
        return self.prefix + text

    def _time(self, stamp: str) -> datetime:
        try:
            if self.time_form is TimeForm.EPOCH_SECONDS:
                return datetime.fromtimestamp(int(stamp), UTC)
            at = datetime.fromisoformat(stamp)
        except (ValueError, OverflowError, OSError):
            raise CallbackRefused("time_not_understood") from None
        if at.tzinfo is None:
            raise CallbackRefused("time_not_understood")
        return at


def json_body(call: CallbackCall) -> dict[str, Any]:
    """The body as a JSON object: to be asked for after the signature was checked. Raises CallbackRefused."""
    try:
        value = parse_vendor_json(call.body)
    except AnswerNotUnderstood:
        raise CallbackRefused("body_not_understood") from None
    if not isinstance(value, dict):
        raise CallbackRefused("body_not_understood")
    return value
