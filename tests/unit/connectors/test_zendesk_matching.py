"""Whose a Zendesk user is: one more letter in common is no match."""

from __future__ import annotations

import pytest

from connectors.base.values import Identifier, Subject
from connectors.zendesk.matching import is_match
from connectors.zendesk.objects import END_USER, User


@pytest.mark.parametrize(
    ("stored", "matches"),
    [("KATE@x.test", True), ("kate@x.test", True), ("\u212aate@x.test", False), ("kate@x.test.example", False)],
)
def test_addresses_match_without_case_but_not_across_alphabets(stored: str, matches: bool) -> None:
    user = User("1", END_USER, active=True, emails=frozenset({stored}))
    kate = Subject("kate", (Identifier("email", "kate@x.test"),))
    assert is_match(kate, user, "customer_id") is matches
