"""Hear every statement that is said to PostgreSQL, whichever layer says it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psycopg


@contextmanager
def statements_said() -> Iterator[list[tuple[str, Any]]]:
    """The statements and their parameters, in the driver's words, as they come."""
    said: list[tuple[str, Any]] = []
    execute = psycopg.Cursor.execute

    def hear(cursor: Any, query: Any, params: Any = None, **how: Any) -> Any:
        said.append((query.decode() if isinstance(query, bytes) else str(query), params))
        return execute(cursor, query, params, **how)

    with patch.object(psycopg.Cursor, "execute", hear):
        yield said
