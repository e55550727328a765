"""Names of tables and columns as the configuration gives them.

Knows no database; SQLAlchemy quotes the names for SQL.
"""

from __future__ import annotations

import re

_PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')


def name_parts(name: str) -> tuple[str, ...]:
    """Divide `schema.table` or `table` into its parts.

    A part with a dot is written in double quotes: `"odd.name"`.

    Raises ValueError for anything that isn't one or two such parts.
    """
    parts: list[str] = []
    position = 0
    while True:
        match = _PART.match(name, position)
        if match is None:
            raise ValueError("a table is named `table` or `schema.table`; other signs go in double quotes")
        text = match.group()
        parts.append(text[1:-1].replace('""', '"') if text.startswith('"') else text)
        position = match.end()
        if position == len(name):
            break
        if name[position] != ".":
            raise ValueError("a table is named `table` or `schema.table`; other signs go in double quotes")
        position += 1
    if len(parts) > 2:
        raise ValueError("a table is named by one or two parts")
    return tuple(check_part(part) for part in parts)


def check_part(part: str) -> str:
    """Return the part of a name. Raises ValueError for one that no database can hold."""
    if not part:
        raise ValueError("a name isn't empty")
    if "\x00" in part:
        raise ValueError("a name holds no NUL")
    return part


def code_part(name: str) -> str:
    """Return a name as part of an error code: lower case, other signs as `_`.

    Table names aren't personal data.
    """
    return re.sub(r"[^a-z0-9_.-]", "_", name.lower())[:40]
