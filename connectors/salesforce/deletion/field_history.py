"""Field histories of records that stay: the old values of what is written over, and so the person once more.

Decides which history rows hang on which records. They can be deleted only where describe says so: the permission
"Delete From Field History" with its org preference (Object Reference, API 42 on, read 2026-11-22). Unconfirmed: that a
collection over REST deletes them as SOAP does. Where it may not be done, the evidence names the gap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from connectors.salesforce.deletion.dependents import Key
from connectors.salesforce.org.reading import Reader, Rows
from connectors.salesforce.org.schema import HISTORY, Relation, Schema
from connectors.salesforce.org.soql import by_id, selects


def histories_below(schema: Schema, reader: Reader, keys: Iterable[Key]) -> list[tuple[Relation, Rows]]:
    """The rows of each deletable history of these records, as they are now."""
    ids: dict[str, list[str]] = defaultdict(list)
    for name, record_id in sorted(keys):
        ids[name].append(by_id(record_id))
    asked = [
        (relation, text)
        for name, some in ids.items()
        for relation in schema.relations_of(name)
        if relation.child.endswith(HISTORY) and schema.objects[relation.child].deletable
        for text in selects(["Id", relation.field], relation.child, [(relation.field, some)])
    ]
    answers = reader.run([text for _, text in asked])
    return [(relation, rows) for (relation, _), rows in zip(asked, answers, strict=True)]
