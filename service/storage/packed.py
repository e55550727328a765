"""Long arrays of bytes or text as statement parameters, sent in PostgreSQL's binary form.

As a plain list psycopg writes such an array as text, escaped character by character: 11 us for an entry of 450 bytes,
against 0.2 us in binary (measured 2026-11-22). That was half the cost of logging.
"""

from __future__ import annotations

from typing import TypeVar

import psycopg
from psycopg.types.array import ListBinaryDumper

_Item = TypeVar("_Item", bytes, bytes | None, str, str | None)


class Packed(list[_Item]):
    """A list of bytes or text for `CAST(:name AS bytea[])`, `text[]` or `uuid[]`."""


def send_packed() -> None:
    """Have every connection that is opened from now on send `Packed` in binary; others send it as text, as before."""
    psycopg.adapters.register_dumper(Packed, ListBinaryDumper)
