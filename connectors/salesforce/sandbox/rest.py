"""The stand-in's REST resources for describes, queries and records, one by one and 200 at a time.

Source: REST API Developer Guide, "sObject Describe", "Query", "QueryAll", "sObject Rows", "sObject Collections"; the
texts of errors are Salesforce's kinds, not its words (read 2026-11-22). Unconfirmed: that a collection of deletions may
change between objects at most ten times (documented for creations and updates; sorted ids never meet it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from connectors.salesforce.sandbox.deletion import existing
from connectors.salesforce.sandbox.oauth import OAuthSandbox
from connectors.salesforce.sandbox.query.select import Query
from connectors.salesforce.sandbox.schema import SObject
from connectors.salesforce.sandbox.wire import (
    RowError,
    error_body,
    full_id,
    json_body,
    not_found,
    only_parameters,
    parse_instant,
    refuse,
)
from connectors.testing.sandbox import ApiError, Call, Result, route

MOST_RECORDS = 200
_MOST_CHUNKS = 10
_PAGE_ROWS = 2_000
_LEAST_BATCH = 200
_GLOBAL_KEYS = (
    "name", "label", "labelPlural", "keyPrefix", "custom", "customSetting", "createable", "updateable", "deletable",
    "queryable", "undeletable", "searchable", "mergeable", "retrieveable", "replicateable", "layoutable", "triggerable",
    "feedEnabled", "deprecatedAndHidden",
)  # fmt: skip


class RestSandbox(OAuthSandbox):
    """Describe, query and records."""

    def base(self, call: Call) -> str:
        """`/services/data/vXX.0`."""
        return f"/services/data/{call.path_values['version']}"

    def version(self, call: Call) -> str:
        """`XX.0`."""
        return call.path_values["version"].removeprefix("v")

    def sobject(self, call: Call) -> SObject:
        """The object that a path names."""
        found = self.visible.get(call.path_values["object"])
        if found is None:
            raise not_found()
        return found

    @route("GET", "/services/data/{version}")
    def resources(self, call: Call) -> Result:
        """What there is under a version."""
        names = ("sobjects", "query", "queryAll", "composite", "limits", "jobs")
        return Result(200, {name: f"{self.base(call)}/{name}" for name in names})

    @route("GET", "/services/data/{version}/sobjects")
    def describe_global(self, call: Call) -> Result:
        """Every object that the credential sees, with its flags."""
        rows = [
            {**{key: found.describe.get(key) for key in _GLOBAL_KEYS}, "urls": self._urls(call, found)}
            for found in self.visible.objects.values()
        ]
        return _tagged(call, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": rows})

    @route("GET", "/services/data/{version}/sobjects/{object}")
    def basic_information(self, call: Call) -> Result:
        """An object's own row of the global describe."""
        found = self.sobject(call)
        row = {key: found.describe.get(key) for key in _GLOBAL_KEYS} | {"urls": self._urls(call, found)}
        return Result(200, {"objectDescribe": row, "recentItems": []})

    @route("GET", "/services/data/{version}/sobjects/{object}/describe")
    def describe(self, call: Call) -> Result:
        """One object: fields and child relationships."""
        found = self.sobject(call)
        return _tagged(call, {**found.describe, "urls": self._urls(call, found)})

    def _urls(self, call: Call, found: SObject) -> dict[str, str]:
        url = f"{self.base(call)}/sobjects/{found.name}"
        return {"sobject": url, "describe": f"{url}/describe", "rowTemplate": f"{url}/{{ID}}"}

    @route("GET", "/services/data/{version}/query")
    def query(self, call: Call) -> Result:
        """Rows that are neither deleted nor archived."""
        return self._run_query(call, include_all=False)

    @route("GET", "/services/data/{version}/queryAll")
    def query_all(self, call: Call) -> Result:
        """Rows, deleted and archived ones included."""
        return self._run_query(call, include_all=True)

    def _run_query(self, call: Call, *, include_all: bool) -> Result:
        only_parameters(call, "q")
        if not call.query.get("q"):
            raise refuse(400, "MALFORMED_QUERY", "A query string has to be specified")
        query = Query(self.store, self.visible, self.version(call), include_all=include_all, is_seen=self.is_seen)
        found = query.run(call.query["q"])
        rows, nested = self._sizes(call)
        return Result(200, self.pages.first(found.records, found.total, rows, nested, self.base(call), self.now()))

    @route("GET", "/services/data/{version}/query/{locator}")
    def query_more(self, call: Call) -> Result:
        """The next page, of a result or of a nested list in it."""
        rows, nested = self._sizes(call)
        return Result(200, self.pages.more(call.path_values["locator"], rows, nested, self.base(call), self.now()))

    @route("GET", "/services/data/{version}/queryAll/{locator}")
    def query_all_more(self, call: Call) -> Result:
        """The same."""
        return self.query_more(call)

    def _sizes(self, call: Call) -> tuple[int, int]:
        """Rows a page, and rows of a nested list on it; options make them smaller than a caller may."""
        rows = int(self.options.get("page_rows", _PAGE_ROWS))
        name, _, value = call.headers.get("sforce-query-options", "").partition("=")
        if name.strip().lower() == "batchsize" and value.strip().isdigit():
            rows = min(rows, max(_LEAST_BATCH, int(value)))
        return rows, int(self.options.get("nested_page_rows", rows))

    @route("GET", "/services/data/{version}/sobjects/{object}/deleted")
    def get_deleted(self, call: Call) -> Result:
        """Which rows went to the recycle bin in a span of time."""
        only_parameters(call, "start", "end")
        found = self.sobject(call)
        try:
            start, end = parse_instant(call.query["start"]), parse_instant(call.query["end"])
        except (KeyError, ValueError):
            raise refuse(400, "INVALID_QUERY_PARAMETER", "start and end are required instants") from None
        bin_ = [(i, at) for i, at in self.state["bin"].items() if self.schema.of_id(i) is self.schema.get(found.name)]
        rows = [{"id": i, "deletedDate": at} for i, at in bin_ if start <= parse_instant(at) <= end]
        return Result(200, {"deletedRecords": rows, "latestDateCovered": call.query["end"]})

    @route("POST", "/services/data/{version}/sobjects/{object}")
    def post_record(self, call: Call) -> Result:
        """Make a record."""
        found = self.sobject(call)
        try:
            row = self.create_row(self._whole(found), _fields(json_body(call)))
        except RowError as error:
            raise _refused(error) from None
        return Result(201, {"id": row["Id"], "success": True, "errors": []})

    def _whole(self, found: SObject) -> SObject:
        return self.schema.get(found.name) or found

    @route("GET", "/services/data/{version}/sobjects/{object}/{id}")
    def get_record(self, call: Call) -> Result:
        """A live record, all its fields or those named."""
        only_parameters(call, "fields")
        found = self.sobject(call)
        try:
            row = self._of_object(found, call.path_values["id"])
        except RowError as error:
            raise _refused(error) from None
        named = [n for n in call.query.get("fields", "").split(",") if n]
        unknown = [n for n in named if n.lower() not in found.fields]
        if unknown:
            raise refuse(400, "INVALID_FIELD", f"No such column '{unknown[0]}' on sobject of type {found.name}")
        shown = [found.fields[n.lower()]["name"] for n in named] or [f["name"] for f in found.fields.values()]
        url = f"{self.base(call)}/sobjects/{found.name}/{row['Id']}"
        return Result(200, {"attributes": {"type": found.name, "url": url}, **{n: row.get(n) for n in shown}})

    def _of_object(self, found: SObject, value: str) -> dict[str, Any]:
        row = existing(self.store, value)
        if self.store.object_of(row).name != found.name:
            raise RowError("NOT_FOUND", "The requested resource does not exist", status=404)
        return row

    @route("PATCH", "/services/data/{version}/sobjects/{object}/{id}")
    def patch_record(self, call: Call) -> Result:
        """Change a record."""
        found, fields = self.sobject(call), _fields(json_body(call))
        if any(name.lower() == "id" for name in fields):
            raise refuse(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
        try:
            self._of_object(found, call.path_values["id"])
            self.update_row(call.path_values["id"], self.known_fields(found, fields))
        except RowError as error:
            raise _refused(error) from None
        return Result(204)

    def known_fields(self, found: SObject, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Refuse fields that are hidden from the credential."""
        for name in fields:
            if name.lower() not in ("attributes", "id") and name.lower() not in found.fields:
                raise RowError("INVALID_FIELD", f"No such column '{name}' on sobject of type {found.name}")
        return fields

    @route("DELETE", "/services/data/{version}/sobjects/{object}/{id}")
    def delete_record(self, call: Call) -> Result:
        """Delete a record into the recycle bin."""
        found = self.sobject(call)
        try:
            self._of_object(found, call.path_values["id"])
            self.delete_row(call.path_values["id"])
        except RowError as error:
            raise _refused(error) from None
        return Result(204)

    @route("DELETE", "/services/data/{version}/composite/sobjects")
    def delete_records(self, call: Call) -> Result:
        """Delete up to 200 records of any objects; 200 whatever happened to each of them."""
        only_parameters(call, "ids", "allOrNone")
        ids = [i.strip() for i in call.query.get("ids", "").split(",") if i.strip()]
        if not ids:
            raise refuse(400, "REQUIRED_FIELD_MISSING", "The ids parameter is required")
        self._refuse_many(ids)
        self._refuse_mixed([i[:3] for i in ids])
        if len(set(ids)) != len(ids):
            raise refuse(400, "DUPLICATE_VALUE", "duplicate id in the list")

        def delete_one(value: str) -> str:
            return str(self.delete_row(value)["Id"])

        return Result(200, self._each(ids, delete_one, all_or_none=_flag(call.query.get("allOrNone"))))

    @route("PATCH", "/services/data/{version}/composite/sobjects")
    def patch_records(self, call: Call) -> Result:
        """Change up to 200 records."""
        records, all_or_none = self._collection(call)

        def patch_one(record: Mapping[str, Any]) -> str:
            found = self._type_of(record)
            row = existing(self.store, record.get("id") or record.get("Id"))
            if self.store.object_of(row).name != found.name:
                raise RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
            return str(self.update_row(row["Id"], self.known_fields(found, record))["Id"])

        return Result(200, self._each(records, patch_one, all_or_none=all_or_none))

    @route("POST", "/services/data/{version}/composite/sobjects")
    def post_records(self, call: Call) -> Result:
        """Make up to 200 records."""
        records, all_or_none = self._collection(call)

        def post_one(record: Mapping[str, Any]) -> str:
            found = self._type_of(record)
            return str(self.create_row(self._whole(found), self.known_fields(found, record))["Id"])

        return Result(200, self._each(records, post_one, all_or_none=all_or_none))

    def _type_of(self, record: Mapping[str, Any]) -> SObject:
        kind = (record.get("attributes") or {}).get("type")
        found = self.visible.get(kind) if isinstance(kind, str) else None
        if found is None:
            raise RowError("INVALID_TYPE", "sObject type is not supported or not given")
        return found

    def _collection(self, call: Call) -> tuple[list[Any], bool]:
        body = json_body(call)
        records = body.get("records") if isinstance(body, dict) else None
        if not isinstance(records, list) or not records or not all(isinstance(r, dict) for r in records):
            raise refuse(400, "INVALID_INPUT", "records is required")
        if set(body) - {"records", "allOrNone"}:
            raise refuse(400, "INVALID_INPUT", "unknown key beside records and allOrNone")
        self._refuse_many(records)
        self._refuse_mixed([str((r.get("attributes") or {}).get("type")) for r in records])
        return records, bool(body.get("allOrNone", False))

    @staticmethod
    def _refuse_many(records: list[Any]) -> None:
        if len(records) > MOST_RECORDS:
            message = "record limit reached. cannot submit more than 200 records into this call"
            raise refuse(400, "EXCEEDED_ID_LIMIT", message)

    @staticmethod
    def _refuse_mixed(kinds: list[str]) -> None:
        if 1 + sum(a != b for a, b in pairwise(kinds)) > _MOST_CHUNKS:
            raise refuse(400, "INVALID_INPUT", "Cannot have more than 10 chunks in a single operation")

    def _each(self, items: list[Any], act: Callable[[Any], str], *, all_or_none: bool) -> list[dict[str, Any]]:
        """Act on each in order; a row's refusal is its own, unless all or none was asked for."""
        take_back = self.store.savepoint()
        rows: list[dict[str, Any]] = []
        has_failed = False
        for item in items:
            undo_one = self.store.savepoint()
            try:
                rows.append({"id": act(item), "success": True, "errors": []})
            except RowError as error:
                undo_one()
                has_failed = True
                rows.append({"success": False, "errors": [error.as_row()], **_id_of(item)})
        if has_failed and all_or_none:
            take_back()
            message = "Record rolled back because not all records were valid and the request was using AllOrNone"
            rolled = RowError("ALL_OR_NONE_OPERATION_ROLLED_BACK", message).as_row()
            rows = [{**row, "success": False, "errors": [rolled]} if row["success"] else row for row in rows]
        return rows


def _id_of(item: Any) -> dict[str, str]:
    value = item if isinstance(item, str) else item.get("id")
    try:
        return {"id": full_id(value)}
    except RowError:
        return {}


def _fields(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise refuse(400, "JSON_PARSER_ERROR", "an object is required")
    return body


def _flag(value: str | None) -> bool:
    return (value or "").lower() == "true"


def _refused(error: RowError) -> ApiError:
    return ApiError(error.status, error_body(error.code, error.message, error.fields))


def _tagged(call: Call, body: dict[str, Any]) -> Result:
    """With an ETag; 304 for who has it already."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
    tag = f'"{digest}"'
    if call.headers.get("if-none-match", "").strip() in (tag, f"W/{tag}"):
        return Result(304, None, {"etag": tag})
    return Result(200, body, {"etag": tag})
