"""After every test of a batch's way the audit log is replayed: it must give the rows (I7)."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _every_log_is_replayed(replayed: None) -> None:
    """Ask for the comparison, whose fixture belongs to the company."""
