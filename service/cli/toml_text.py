"""Write configuration as TOML text that a person can read and edit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Tables: TypeAlias = Mapping[str, Mapping[str, object] | Sequence[Mapping[str, object]]]
"""One table, or a list of tables, for each name."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(table: Tables) -> str:
    """A configuration file: one `[table]` or `[[table]]` per name; tables inside them are written inline."""
    lines: list[str] = []
    for name, value in table.items():
        entries, heading = ([value], f"[{name}]") if isinstance(value, Mapping) else (value, f"[[{name}]]")
        for entry in entries:
            lines.append(heading)
            lines += [f"{key} = {_value(item)}" for key, item in entry.items()]
            lines.append("")
    return "\n".join(lines)


def _value(value: object, indent: str = "") -> str:
    """A value; a list of tables has one line each, which TOML allows inside of lists only."""
    if isinstance(value, Mapping):
        pairs = (f"{_key(name)} = {_value(item, indent)}" for name, item in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping) for item in value):
            deeper = indent + "    "
            return "[\n" + "".join(f"{deeper}{_value(item, deeper)},\n" for item in value) + f"{indent}]"
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)
