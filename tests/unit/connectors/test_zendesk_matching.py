"""Whose a Zendesk user is: one more letter in common is no match."""

from __future__ import annotations

import pytest

from connectors.base.values import Identifier, Subject
from connectors.zendesk.users import is_match


@pytest.mark.parametrize(
    ("stored", "matches"),
    [("KATE@x.test", True), ("kate@x.test", True), ("\u212aate@x.test", False), ("kate@x.test.example", False)],
)
def test_addresses_match_without_case_but_not_across_alphabets(stored: str, matches: bool) -> None:
    kate = Subject("kate", (Identifier("email", "kate@x.test"),))
    assert is_match(kate, [Identifier("email", stored), Identifier("zendesk_user_id", "1")]) is matches
