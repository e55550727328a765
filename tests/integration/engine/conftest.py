"""After every test of the engine the audit log is replayed: it must give the rows (I7)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.audit_replay import differences
from tests.company import Company


@pytest.fixture(autouse=True)
def replayed(company: Company) -> Iterator[None]:
    yield
    assert differences(company.stores.engine) == []
