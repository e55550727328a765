"""Days of the stories that reports are about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from service.domain.audit.entry import decode_entry
from service.domain.reports.cases import Register
from service.domain.reports.report import (
    Question,
    parse_period,
)
from tests.integration.audit.story import Story

DAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def at(days: float) -> datetime:
    return DAY + timedelta(days=days)


UTC_ZONE = ZoneInfo("UTC")


def asked(story: Story, period: str = "2026", *, regime: str | None = None, zone: str = "UTC") -> Question:
    register = Register()
    for entry in story.entries:
        register.see(decode_entry(entry.encode()))
    return Question(register, parse_period(period, ZoneInfo(zone)), regime)
