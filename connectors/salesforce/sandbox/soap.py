"""The stand-in's SOAP endpoint: emptyRecycleBin, and the refusal of login().

Source: SOAP API Developer Guide, emptyRecycleBin() (at most 200 ids; ids of records that went with another one are an
error; queryAll may show purged rows for about 24 hours), and the end of login() in API 65 (read 2026-11-22).
Unconfirmed: the codes of a row for an id that isn't in the bin or that went with another record.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from connectors.salesforce.sandbox.bulk import BulkSandbox
from connectors.salesforce.sandbox.wire import RowError, full_id
from connectors.testing.sandbox import ApiError, Call, Result, route

_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_PARTNER = "urn:partner.soap.sforce.com"
_FAULTS = "urn:fault.partner.soap.sforce.com"
_MOST_IDS = 200
_TYPES = {"content-type": "text/xml; charset=utf-8"}


def _fault(code: str, message: str) -> ApiError:
    told = f"<faultcode>sf:{code}</faultcode><faultstring>{code}: {escape(message)}</faultstring>"
    return ApiError(500, _envelope(f"<soapenv:Fault>{told}</soapenv:Fault>"), _TYPES)


def _envelope(body: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="{_SOAP}" xmlns="{_PARTNER}" '
        f'xmlns:sf="{_FAULTS}"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>'
    ).encode()


class SoapSandbox(BulkSandbox):
    """The partner API, as far as an erasure needs it."""

    @route("POST", "/services/Soap/u/{soap_version}")
    def soap(self, call: Call) -> Result:
        """One SOAP call."""
        if not self.has_version(call.path_values["soap_version"]):
            raise _fault("UNSUPPORTED_API_VERSION", "the API version is not supported")
        if "soapaction" not in call.headers:
            raise ApiError(
                500, _envelope("<soapenv:Fault><faultcode>soapenv:Client</faultcode></soapenv:Fault>"), _TYPES
            )
        if not call.headers.get("content-type", "").lower().startswith("text/xml"):
            raise ApiError(415, b"", _TYPES)
        operation, session = self._opened_envelope(call.body)
        name = operation.tag.partition("}")[2]
        if name == "login":
            raise _fault("INVALID_OPERATION", "SOAP API login() is disabled by default in this org")
        if session is None or not self.is_live(session):
            raise _fault("INVALID_SESSION_ID", "Invalid Session ID found in SessionHeader: Illegal Session")
        try:
            self.count_call()
        except ApiError:
            raise _fault("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.") from None
        if name != "emptyRecycleBin":
            raise _fault("INVALID_OPERATION", "No such operation here")
        ids = [(child.text or "").strip() for child in operation if child.tag == f"{{{_PARTNER}}}ids"]
        if not ids or len(ids) != len(operation):
            raise _fault("INVALID_FIELD", "ids are required")
        if len(ids) > _MOST_IDS:
            raise _fault("EXCEEDED_ID_LIMIT", "exceeded the maximum number of ids: 200")
        if not self.permission("modify_all_data"):
            raise _fault("INSUFFICIENT_ACCESS", "Modify All Data is required")
        rows = "".join(_row(value, self._purge(value)) for value in ids)
        return Result(200, _envelope(f"<emptyRecycleBinResponse>{rows}</emptyRecycleBinResponse>"), _TYPES)

    @staticmethod
    def _opened_envelope(body: bytes) -> tuple[ElementTree.Element, str | None]:
        try:
            if b"<!DOCTYPE" in body:
                raise _fault("INVALID_REQUEST", "no document types")
            root = ElementTree.fromstring(body)  # noqa: S314 - without document types there are no entities
        except ElementTree.ParseError:
            raise _fault("INVALID_REQUEST", "not well-formed") from None
        found = root.find(f"{{{_SOAP}}}Body")
        operation = found[0] if root.tag == f"{{{_SOAP}}}Envelope" and found is not None and len(found) == 1 else None
        if operation is None or not operation.tag.startswith(f"{{{_PARTNER}}}"):
            raise _fault("INVALID_REQUEST", "an envelope with one operation of the partner API is required")
        session = root.find(f"{{{_SOAP}}}Header/{{{_PARTNER}}}SessionHeader/{{{_PARTNER}}}sessionId")
        return operation, session.text if session is not None else None

    def _purge(self, value: str) -> RowError | None:
        try:
            row: dict[str, Any] | None = self.store.row(full_id(value))
        except RowError as error:
            return error
        if row is None:
            return RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
        if not row.get("IsDeleted") or row.get("@purged"):
            return RowError("INVALID_ID_FIELD", "the record is not in the recycle bin")
        if row["Id"] not in self.state["bin"]:
            return RowError("INVALID_ID_FIELD", "the record was deleted with another one")
        self.store.purge(row, self.now())
        return None


def _row(value: str, error: RowError | None) -> str:
    if error is None:
        return f"<result><id>{escape(value)}</id><success>true</success></result>"
    told = f"<message>{escape(error.message)}</message><statusCode>{error.code}</statusCode>"
    return f"<result><errors>{told}</errors><id>{escape(value)}</id><success>false</success></result>"
