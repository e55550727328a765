"""Names of tables and columns, as the configuration gives them, made safe to stand in SQL. Knows no database."""

from __future__ import annotations

import re

_PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')


def name_parts(name: str) -> tuple[str, ...]:
    """`schema.table` or `table` as its parts. A part that holds a dot is written in double quotes: `"odd.name"`.

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
    if len(parts) > 2 or any("\x00" in part for part in parts):
        raise ValueError("a table is named by one or two parts")
    return tuple(parts)


def quoted(part: str) -> str:
    """One part as a quoted SQL identifier: whatever it says, it stays a name."""
    if "\x00" in part:
        raise ValueError("a name holds no NUL")
    return '"' + part.replace('"', '""') + '"'


def quoted_name(name: str) -> str:
    """A configured table name as SQL."""
    return ".".join(quoted(part) for part in name_parts(name))


def code_part(name: str) -> str:
    """A name as part of an error code: lower case, other signs as `_`. Table names are configuration, not personal."""
    return re.sub(r"[^a-z0-9_.-]", "_", name.lower())[:40]
