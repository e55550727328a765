"""Whose a Zendesk user is: one more letter in common is no match."""

from __future__ import annotations

import pytest

from connectors.base.values import Identifier, Subject
from connectors.zendesk.connector import ZendeskConnector


@pytest.fixture(scope="module")
def zendesk() -> ZendeskConnector:
    credentials = {"email": "admin@acme.example", "api_token": "token"}
    entry = {"name": "support", "connector": "zendesk", "base_url": "https://acme.zendesk.example"}
    return ZendeskConnector(ZendeskConnector.parse_system({**entry, "credentials": credentials}))


@pytest.mark.parametrize(
    ("stored", "matches"),
    [("KATE@x.test", True), ("kate@x.test", True), ("\u212aate@x.test", False), ("kate@x.test.example", False)],
)
def test_addresses_match_without_case_but_not_across_alphabets(
    zendesk: ZendeskConnector, stored: str, matches: bool
) -> None:
    kate = Subject("kate", (Identifier("email", "kate@x.test"),))
    assert zendesk.is_own(kate, Identifier("email", stored)) is matches


def test_phone_numbers_match_without_punctuation(zendesk: ZendeskConnector) -> None:
    kate = Subject("kate", (Identifier("phone", "+442079460000"), Identifier("customer_id", "7")))
    assert zendesk.is_own(kate, Identifier("phone", "+44 (20) 7946-0000"))
    assert not zendesk.is_own(kate, Identifier("phone", "+442079460001"))
    assert not zendesk.is_own(kate, Identifier("zendesk_user_id", "7"))
