"""A desk per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.store.engine import open_engine
from tests.integration.execution.select.rows import Desk


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    engine = open_engine(database_url)
    yield Desk(engine).open()
    engine.dispose()
