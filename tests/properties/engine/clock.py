"""The machine's time: one clock for database and processes, which stands still until the machine moves it.

Every reading is a microsecond later than the one before, so that order stays order and a slow computer changes nothing.
The database's `clock_timestamp()` is replaced by a function that is found before the built-in one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
OFFSET = "machine.offset"
DEFINITIONS = (
    "CREATE SCHEMA IF NOT EXISTS machine",
    "CREATE SEQUENCE IF NOT EXISTS machine.tick",
    (
        "CREATE OR REPLACE FUNCTION machine.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$"
        f" SELECT timestamptz '{START.isoformat()}' + pg_catalog.current_setting('{OFFSET}')::interval"
        " + pg_catalog.nextval('machine.tick') * interval '1 microsecond' $$"
    ),
)
"""What a database needs once; `CONNECTION_OPTIONS` is what each connection to it needs."""
CONNECTION_OPTIONS = f"-csearch_path=machine,pg_catalog,public -c{OFFSET}=0s -csynchronous_commit=off"
_EPOCH_SECONDS = 1000.0


class Clock:
    """Also stands in for the modules `datetime` (of its `now`) and `time` (of its `monotonic`) in the workers."""

    def __init__(self) -> None:
        self.offset = timedelta(0)
        self._readings = 0

    def now(self, zone: Any = UTC) -> datetime:
        """The instant that it is; called by the workers as `datetime.now(UTC)`."""
        self._readings += 1
        return (START + self.offset + timedelta(microseconds=self._readings)).astimezone(zone)

    def monotonic(self) -> float:
        """Seconds that only grow; called by the workers as `time.monotonic()`."""
        return _EPOCH_SECONDS + self.offset.total_seconds()

    def move(self, by: timedelta) -> None:
        """Let time pass here; the store moves the database's clock."""
        self.offset += by

    def restart(self) -> None:
        """A new run."""
        self.offset = timedelta(0)
        self._readings = 0
