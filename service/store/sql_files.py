"""SQL statements that stand in files of their own, because their plan matters and is explained beside them.

Decides nothing. A file holds one statement with `:name` parameters and, above it, the measured plan and the reason for
its form. Commands without an expression in SQLAlchemy (COPY, triggers) stand in such files as well, several in one file
if they have no parameters. Every other statement is a SQLAlchemy expression.
"""

from __future__ import annotations

from importlib.resources import files


def load_sql(package: str, name: str) -> str:
    """Return the content of `sql/NAME.sql` in this package, without comments. Raises FileNotFoundError."""
    written = files(package).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    return "\n".join(line for line in written.splitlines() if not line.lstrip().startswith("--")).strip()
