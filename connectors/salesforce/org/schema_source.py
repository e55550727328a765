"""Where the schema comes from: the cache of this org and API version, else the org's describes.

Decides how far describing goes: people first, then whatever hangs on them, until nothing new is named.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from connectors.base.toolkit.http import field_of
from connectors.salesforce.org.org import Org
from connectors.salesforce.org.schema import (
    PEOPLE,
    ObjectType,
    Schema,
    checked,
    parse_object,
    views_among,
    wanted_children,
)

_FORM = 3  # of what is cached
_EXTRA = ("UserPermissionAccess", "ContentDocument", "ContentDocumentLink", "EmailMessage", "EmailMessageRelation")
_MOST_ROUNDS = 8


class SchemaSource:
    """The org's schema, read once and kept for `keep_for`."""

    def __init__(self, org: Org, keep_for: timedelta) -> None:
        self._org = org
        self._keep_for = keep_for
        self._schema: Schema | None = None

    def schema(self) -> Schema:
        """The schema; cold, 1 + one call per 25 objects."""
        if self._schema is None:
            self._schema = self._kept() or self._described()
        return self._schema

    def refresh(self) -> Schema:
        """Describe anew: the org said that a field or an object isn't there any more."""
        self._schema = self._described()
        return self._schema

    def _key(self) -> str:
        # Two users of one org may see different fields.
        return f"schema|{self._org.org_id}|{self._org.user_id}|{self._org.version}"

    def _kept(self) -> Schema | None:
        kept = self._org.cache.get(self._key())
        if not isinstance(kept, dict) or kept.get("form") != _FORM:
            return None
        if not 0 <= time.time() - float(kept.get("at", 0)) < self._keep_for.total_seconds():
            return None
        return Schema.from_json(kept["schema"])

    def _described(self) -> Schema:
        rows: dict[str, Any] = {field_of(row, "name", str): row for row in self._org.describe_global()}
        views = views_among(rows.values())
        known: dict[str, ObjectType] = {}
        wanted = [name for name in (*PEOPLE, *_EXTRA) if name in rows]
        for _ in range(_MOST_ROUNDS):
            if not wanted:
                break
            for body in self._org.describe_many(wanted):
                described = parse_object(body)
                known[described.name] = described
            asked = set(wanted)
            wanted = [name for name in wanted_children(known, rows, views) if name not in asked]
        schema = checked(Schema(known, views & set(rows)))
        self._org.cache.put(self._key(), {"form": _FORM, "at": time.time(), "schema": schema.to_json()})
        return schema
