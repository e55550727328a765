"""Placeholders, and identifiers that only look like one."""

import pytest

from connectors.base.values import Identifier
from service.domain.identity.placeholders import PlaceholderReason, PlaceholderRules, is_placeholder, placeholder_reason


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("email", "", PlaceholderReason.EMPTY),
        ("email", " \u00a0\t", PlaceholderReason.EMPTY),
        ("customer_id", "\ufeff\u200b", PlaceholderReason.EMPTY),
        ("customer_id", '""', PlaceholderReason.EMPTY),
        ("email", "Unknown", PlaceholderReason.WORD_FOR_NOTHING),
        ("phone", "none", PlaceholderReason.WORD_FOR_NOTHING),
        ("customer_id", "NULL", PlaceholderReason.WORD_FOR_NOTHING),
        ("customer_id", "N/A", PlaceholderReason.WORD_FOR_NOTHING),
        ("anonymous_id", "(not set)", PlaceholderReason.WORD_FOR_NOTHING),
        ("customer_id", "<null>", PlaceholderReason.WORD_FOR_NOTHING),
        ("customer_id", "\\N", PlaceholderReason.WORD_FOR_NOTHING),
        ("phone", "--", PlaceholderReason.WORD_FOR_NOTHING),
        ("email", "Test@Test.com", PlaceholderReason.SAMPLE_ADDRESS),
        ("email", "noreply@shop.test", PlaceholderReason.UNATTENDED_MAILBOX),
        ("email", "No-Reply@shop.test", PlaceholderReason.UNATTENDED_MAILBOX),
        ("external_id", "null@null.test", PlaceholderReason.UNATTENDED_MAILBOX),
        ("customer_id", "0", PlaceholderReason.ALL_ZERO),
        ("ios_advertising_id", "00000000-0000-0000-0000-000000000000", PlaceholderReason.ALL_ZERO),
        ("phone", "+0000000000", PlaceholderReason.ALL_ZERO),
        ("phone", "+49 000 0000000", PlaceholderReason.ALL_ZERO),
        ("phone", "+15555555555", PlaceholderReason.ONE_CHARACTER_REPEATED),
        ("phone", "99999", PlaceholderReason.ONE_CHARACTER_REPEATED),
        ("customer_id", "9999999", PlaceholderReason.ONE_CHARACTER_REPEATED),
        ("device_id", "ffffffff-ffff-ffff", PlaceholderReason.ONE_CHARACTER_REPEATED),
        ("phone", "123456789", PlaceholderReason.COUNTED_UP),
        ("phone", "+1 234 567 890", PlaceholderReason.COUNTED_UP),
        ("phone", "+1 987 654 3210", PlaceholderReason.COUNTED_UP),
    ],
)
def test_a_placeholder_is_recognised(kind: str, value: str, reason: PlaceholderReason) -> None:
    assert placeholder_reason(Identifier(kind, value)) is reason
    assert is_placeholder(Identifier(kind, value))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "ada@example.test"),
        ("email", "na@example.test"),
        ("email", "null.ada@example.test"),
        ("email", "replyno@example.test"),
        ("email", "0000000@example.test"),
        ("phone", "+12125550123"),
        ("phone", "+493023125123"),
        ("phone", "1111"),
        ("customer_id", "7"),
        ("customer_id", "111"),
        ("customer_id", "111111"),
        ("customer_id", "123456789"),
        ("customer_id", "Nullermann"),
    ],
)
def test_a_possible_identifier_is_no_placeholder(kind: str, value: str) -> None:
    assert placeholder_reason(Identifier(kind, value)) is None
    assert not is_placeholder(Identifier(kind, value))


def test_the_tables_belong_to_the_controller() -> None:
    rules = PlaceholderRules(
        words=frozenset({"walk-in"}), addresses=frozenset({"till@shop.test"}), mailboxes=frozenset({"kiosk"})
    )
    assert is_placeholder(Identifier("customer_id", "Walk-In"), rules)
    assert is_placeholder(Identifier("email", "till@shop.test"), rules)
    assert is_placeholder(Identifier("email", "kiosk@any.test"), rules)
    assert not is_placeholder(Identifier("customer_id", "unknown"), rules)
    assert not is_placeholder(Identifier("email", "noreply@shop.test"), rules)


def test_every_standard_table_entry_works_as_written() -> None:
    rules = PlaceholderRules()
    assert all(is_placeholder(Identifier("customer_id", word)) for word in rules.words)
    assert all(is_placeholder(Identifier("email", address)) for address in rules.addresses)
    assert all(is_placeholder(Identifier("email", f"{mailbox}@any.test")) for mailbox in rules.mailboxes)
