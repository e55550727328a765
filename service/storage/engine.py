"""Connections to PostgreSQL, made the same way everywhere: no parameters in errors, no echo, pooled."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Engine, create_engine

from service.storage.packed import send_packed


def open_engine(url: str, *, pool_size: int = 5) -> Engine:
    """An engine whose errors never show parameters: they may be what we must not print."""
    send_packed()
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        hide_parameters=True,
        json_deserializer=_read_json,
        connect_args={"application_name": "expunge", "connect_timeout": 10},
    )


def _read_json(written: str | bytes) -> Any:
    """Most of the engine's JSON columns are empty in most rows, and a batch reads hundreds of them."""
    return {} if written in ("{}", b"{}") else json.loads(written)
