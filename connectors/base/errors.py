"""The four errors that a connector raises, named after what the engine does next.

    ConnectorError
    ├── TemporarilyUnavailable   try again, not before `retry_after_seconds`
    ├── CredentialsRefused       park, tell the operator
    ├── RequestRefused           this step can't succeed as asked: park
    └── AnswerNotUnderstood      our bug or the vendor's change: park, never retry blindly, never count as success

`LeaseLost` is not one of them: another process works on the batch now. Connectors let it pass.

No identifier, token, URL, body or vendor text stands in any of them: a `code` of ours and at most an HTTP status.
Raise them `from None`: a chained traceback would print what the vendor said.
"""

from __future__ import annotations

import re

_CODE = re.compile(r"[a-z0-9_.:-]{1,80}")


class ConnectorError(Exception):
    """Base of the four. `code` is ours, lower-case; `status` the HTTP status if there was one.

    `effect_unknown` is True when the vendor may have acted although no answer came.
    """

    def __init__(self, code: str, *, status: int | None = None, effect_unknown: bool = False) -> None:
        if not _CODE.fullmatch(code):
            raise ValueError("an error code is lower-case letters, digits and _.:- only")
        super().__init__(code if status is None else f"{code} (HTTP {status})")
        self.code = code
        self.status = status
        self.effect_unknown = effect_unknown


class TemporarilyUnavailable(ConnectorError):  # noqa: N818 - the four are named after what happens next
    """The system can't answer now: timeouts, 429, 5xx, broken connections."""

    def __init__(
        self,
        code: str,
        *,
        status: int | None = None,
        effect_unknown: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(code, status=status, effect_unknown=effect_unknown)
        self.retry_after_seconds = retry_after_seconds


class CredentialsRefused(ConnectorError):  # noqa: N818 - the four are named after what happens next
    """The credential is wrong, expired, lacks a scope, or is blind."""


class RequestRefused(ConnectorError):  # noqa: N818 - the four are named after what happens next
    """The system understood and refused; asking the same again won't help."""


class AnswerNotUnderstood(ConnectorError):  # noqa: N818 - the four are named after what happens next
    """The answer isn't of the documented form, so nothing may be concluded from it."""


class LeaseLost(Exception):  # noqa: N818 - a fact about the lease, not a fault
    """The batch is no longer ours: no further effect may start."""
