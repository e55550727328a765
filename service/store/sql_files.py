"""Load SQL statements from files: statements whose plan matters and is explained beside them.

Decides nothing. A file holds one statement with `:name` parameters and, above it, the measured plan and the reason for
its form. Commands for which SQLAlchemy has no expression (COPY, LOCK TABLE, triggers) stand in such files as well,
several in one file if they have no parameters. Every other statement is a SQLAlchemy expression.

A part that several statements share is a file, too: it replaces the line `-- include NAME`, or
`-- include PACKAGE/NAME` for a file of another package.
"""

from __future__ import annotations

import re
from importlib.resources import files
from textwrap import indent

_INCLUDE = re.compile(r"-- include (?:([a-z_.]+)/)?([a-z_]+)")


def load_sql(package: str, name: str) -> str:
    """Return the statement of `sql/NAME.sql` in this package, without its comments and with its parts.

    Raises FileNotFoundError.
    """
    lines = []
    for line in files(package).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8").splitlines():
        words = line.lstrip()
        include = _INCLUDE.fullmatch(words)
        if include is not None:
            lines.append(indent(load_sql(include[1] or package, include[2]), line[: -len(words)]))
        elif not words.startswith("--"):
            lines.append(line)
    return "\n".join(lines).strip()
