"""A log of three requests over a week, and what an export asks of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from service.audit.exports.slice import Excerpt, excerpt_lines, select_entries
from service.audit.exports.table import FileDigest, csv_lines, sign_manifest
from service.domain.audit.selection import Selection
from service.domain.audit.signed_note import SigningKey
from tests.integration.audit.story import Story, ended, failed

DAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


ALL = Selection()


def at(days: float) -> datetime:
    return DAY + timedelta(days=days)


@pytest.fixture
def story(engine: Engine) -> Story:
    """Two systems and three requests over a week: in both systems, under two laws."""
    story = Story()
    story.system("support", at(0))
    story.system("mail", at(0))
    for number, (word, regime) in enumerate((("ada", "gdpr"), ("bob", "ccpa"), ("cy", "gdpr")), 1):
        story.request(word, at(number), regime=regime)
        story.step(word, "support", at(number + 0.5), failed(), ended("erased_verified", records=2))
        story.step(word, "mail", at(number + 0.6), ended("absent"))
        story.about(word, "request_fulfilled", at(number + 1))
    story.log(engine)
    return story


@pytest.fixture
def asked(engine: Engine, signing_key: SigningKey, story: Story) -> Callable[..., Excerpt]:
    """Asks the log."""

    def ask(selection: Selection = ALL, size: int | None = None) -> Excerpt:
        return select_entries(engine, signing_key, selection, size=size)

    return ask


@pytest.fixture
def lines(engine: Engine, signing_key: SigningKey) -> Callable[..., bytes]:
    def join(excerpt: Excerpt, start: int = 0) -> bytes:
        return b"".join(excerpt_lines(engine, signing_key, excerpt, start=start))

    return join


@pytest.fixture
def signed(asked: Any, engine: Engine, signing_key: SigningKey) -> tuple[bytes, bytes]:
    """A table and its manifest."""
    excerpt = asked(Selection(regime="gdpr"))
    table = b"".join(csv_lines(engine, excerpt))
    digest = FileDigest.of([table])
    return table, sign_manifest(signing_key, excerpt, "csv", digest, rows=digest.lines - 1)
