"""The stand-in's wire: Salesforce's error form, record ids with their checksum, instants.

Source: REST API Developer Guide, "Status Codes and Error Responses" (read 2026-11-22).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from connectors.testing.sandbox import ApiError, Call, Result

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ID = re.compile(r"[a-zA-Z0-9]{15}(?:[a-zA-Z0-9]{3})?")


class RowError(Exception):
    """One record's refusal: `statusCode` in rows of collections and jobs, `errorCode` alone in a single call."""

    def __init__(self, code: str, message: str, fields: tuple[str, ...] = (), *, status: int = 400) -> None:
        super().__init__(code)
        self.code, self.message, self.fields, self.status = code, message, fields, status

    def as_row(self) -> dict[str, Any]:
        """As it stands in `errors` of a row."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)}


def error_body(code: str, message: str, fields: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The body of every refused REST call: a list with one row."""
    row: dict[str, Any] = {"message": message, "errorCode": code}
    return [row | {"fields": list(fields)} if fields else row]


def refuse(status: int, code: str, message: str) -> ApiError:
    """A refusal of the whole call."""
    return ApiError(status, error_body(code, message))


def not_found() -> ApiError:
    """A path, version or record that isn't there."""
    return refuse(404, "NOT_FOUND", "The requested resource does not exist")


def id_suffix(short: str) -> str:
    """The three characters that say which letters of a 15-character id are capitals."""
    groups = (short[i : i + 5] for i in (0, 5, 10))
    return "".join(_ALPHABET[sum(1 << n for n, c in enumerate(group) if c.isupper())] for group in groups)


def make_id(prefix: str, number: int) -> str:
    """The 18-character id of the n-th record of an org."""
    digits, text = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", ""
    while number:
        number, rest = divmod(number, 62)
        text = digits[rest] + text
    short = f"{prefix}5g0{text:0>9}"
    return short + id_suffix(short)


def full_id(value: Any) -> str:
    """The 18-character form. Raises RowError(MALFORMED_ID) if it is no id."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise RowError("MALFORMED_ID", "bad id", ("Id",))
    if len(value) == 15:
        return value + id_suffix(value)
    if id_suffix(value[:15]) != value[15:].upper():
        raise RowError("MALFORMED_ID", "bad id", ("Id",))
    return value


def instant(moment: datetime) -> str:
    """As Salesforce writes instants: 2026-11-22T10:00:00.000+0000."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


def parse_instant(text: str) -> datetime:
    """A date or an instant, as one can be compared with the other."""
    parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def json_body(call: Call) -> Any:
    """The body as JSON, or Salesforce's refusal."""
    kind = call.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise refuse(415, "UNSUPPORTED_MEDIA_TYPE", "The media type of the request is not supported")
    try:
        return json.loads(call.body)
    except ValueError:
        raise refuse(400, "JSON_PARSER_ERROR", "The HTTP entity body is required, but this request has none") from None


def only_parameters(call: Call, *known: str) -> None:
    """The stand-in refuses parameters that nobody documents; Salesforce would ignore some of them."""
    for name, _ in call.query_list:
        if name not in known:
            raise refuse(400, "INVALID_QUERY_PARAMETER", f"Unexpected parameter {name}")


def csv_result(text: str) -> Result:
    """An answer in CSV."""
    return Result(200, text.encode(), {"content-type": "text/csv; charset=UTF-8"})
