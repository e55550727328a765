"""One way to lock a row: FOR NO KEY UPDATE. service.store.locking says why."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLAIN = re.compile(r"\"[^\"\n]*\bFOR UPDATE\b")


def test_no_statement_locks_for_update() -> None:
    files = [p for room in ("service", "workers") for p in (ROOT / room).rglob("*.py")]
    assert [str(p.relative_to(ROOT)) for p in files if PLAIN.search(p.read_text(encoding="utf-8"))] == []


def test_the_search_finds_one() -> None:
    assert PLAIN.search('text("SELECT 1 FROM requests FOR UPDATE SKIP LOCKED")')
