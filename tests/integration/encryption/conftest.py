"""Stores whose epoch keys lie in a directory of the test's own, and requests in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from connectors.base.values import Identifier
from service.requests.intake.submit import Submission, SubmittedIdentifier, submit_request
from service.settings import Settings, parse_settings
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores

Open = Callable[[], Stores]


def settings_in(directory: Path, **keys: object) -> Settings:
    """Settings whose data, and with it the epoch keys, are in `directory`."""
    return parse_settings({"service": {"data_directory": str(directory)}, "keys": keys})


def submit(stores: Stores, settings: Settings, *identifiers: Identifier) -> UUID:
    """One verified erasure."""
    at = datetime.now(UTC)
    given = tuple(SubmittedIdentifier(each, "email_link", at) for each in identifiers)
    submission = Submission("erasure", "gdpr", given, at, None, uuid4())
    return UUID(submit_request(stores, settings, submission).id)


def let_seal(stores: Stores, *requests: UUID) -> None:
    """As if everything had ended and the key's retention were over."""
    with stores.engine.begin() as connection:
        connection.execute(
            text("UPDATE requests SET next_action = 'seal', due_at = now() WHERE id = ANY(:ids)"),
            {"ids": list(requests)},
        )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A retired epoch is destroyed as soon as no data key names it."""
    return settings_in(tmp_path / "data", epoch_backup_seconds=0)


@pytest.fixture
def open_stores(settings: Settings, database_url: str, key_database_url: str) -> Iterator[Open]:
    """Opens the stores as another process would: nothing is shared with those that are open already."""
    opened: list[Stores] = []

    def another() -> Stores:
        opened.append(Stores.open(database_url, key_database_url, load_secrets(settings)))
        return opened[-1]

    yield another
    for each in opened:
        each.close()


@pytest.fixture
def stores(open_stores: Open) -> Stores:
    """The stores of one process."""
    return open_stores()
