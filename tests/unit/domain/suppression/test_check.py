"""What a check may say: nothing but a fresh, readable list says that an identifier isn't suppressed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.suppression.check import Doubt, Freshness, ListedScope, Status, list_doubt, verdict_on

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
SCOPES = (ListedScope("erased", NOW - timedelta(days=2)), ListedScope("do_not_sell", NOW - timedelta(days=1)))


@pytest.mark.parametrize("of_list", [None, *Doubt])
@pytest.mark.parametrize("of_item", [None, *Doubt])
@pytest.mark.parametrize("scopes", [(), SCOPES[:1], SCOPES])
def test_every_doubt_is_unknown_and_nothing_else_is(
    of_list: Doubt | None, of_item: Doubt | None, scopes: tuple[ListedScope, ...]
) -> None:
    verdict = verdict_on(of_list, of_item, scopes)

    assert (verdict.status is Status.UNKNOWN) == (of_list is not None or of_item is not None)
    assert (verdict.doubt is None) == (verdict.status is not Status.UNKNOWN)
    assert (verdict.status is Status.NOT_SUPPRESSED) == (of_list is None and of_item is None and not scopes)
    assert set(verdict.scopes) == set(scopes)
    assert [each.scope for each in verdict.scopes] == sorted(each.scope for each in scopes)


def test_a_doubt_about_the_identifier_itself_is_named_first() -> None:
    assert verdict_on(Doubt.LIST_STALE, Doubt.MALFORMED, ()).doubt is Doubt.MALFORMED


def test_the_watermark_is_the_oldest_request_that_is_not_listed() -> None:
    oldest = NOW - timedelta(minutes=5)

    assert Freshness(NOW, None).as_of == NOW
    assert Freshness(NOW, oldest).as_of == oldest


def test_a_request_from_a_clock_ahead_does_not_make_the_list_fresher_than_its_reading() -> None:
    assert Freshness(NOW, NOW + timedelta(hours=1)).as_of == NOW


@pytest.mark.parametrize(
    ("lag", "allowed", "doubt"),
    [
        (300, None, None),
        (300, 300, None),
        (300, 299, Doubt.LIST_STALE),
        (1, 0, Doubt.LIST_STALE),
        (0, 0, None),
    ],
)
def test_a_list_is_stale_if_it_lags_by_more_than_the_caller_allows(
    lag: int, allowed: int | None, doubt: Doubt | None
) -> None:
    freshness = Freshness(NOW, NOW - timedelta(seconds=lag))

    assert list_doubt(freshness, None if allowed is None else timedelta(seconds=allowed)) is doubt


def test_a_list_that_was_not_read_says_nothing() -> None:
    assert list_doubt(None, None) is Doubt.LIST_UNAVAILABLE
