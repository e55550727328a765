"""The instants that the service accepts: one rule for the API, imports and the command line.

`datetime` is limited to the years 1 to 9999 by the wall clock of its own offset, so `9999-12-31T23:59:59-14:00` is
valid text but can't be written in UTC. An instant is accepted if it has a wall clock in every time zone, because later
code converts it to UTC and to the controller's time zone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EARLIEST = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
LATEST = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)


class OutsideTheCalendar(ValueError):  # noqa: N818 - says what is true of the instant
    """The instant lies before 0001-01-02 or after 9999-12-30 in UTC."""


def in_utc(at: datetime) -> datetime:
    """Return the same instant in UTC. Raises OutsideTheCalendar, and ValueError for one without an offset."""
    if at.utcoffset() is None:
        raise ValueError("an instant needs a time zone")
    try:
        instant = at.astimezone(UTC)
    except OverflowError:
        raise OutsideTheCalendar(OutsideTheCalendar.__doc__) from None
    if not EARLIEST <= instant <= LATEST:
        raise OutsideTheCalendar(OutsideTheCalendar.__doc__)
    return instant
