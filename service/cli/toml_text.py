"""Write configuration as TOML text that a person can read and edit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(table: Mapping[str, Any]) -> str:
    """A configuration file: one `[table]` or `[[table]]` per name; tables inside them are written inline."""
    lines: list[str] = []
    for name, value in table.items():
        for entry in value if isinstance(value, list) else [value]:
            lines.append(f"[[{name}]]" if isinstance(value, list) else f"[{name}]")
            lines += [f"{key} = {_value(item)}" for key, item in entry.items()]
            lines.append("")
    return "\n".join(lines)


def _value(value: Any, indent: str = "") -> str:
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
