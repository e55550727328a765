"""Whose is a found record? What the graph gives to somebody else is somebody else's; what nobody knows says nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.base.identity_source import Neighbours
from connectors.base.values import Identifier
from service.domain.identity.cluster import WalkRules
from service.domain.identity.conflicts import somebody_elses, unexplained

RULES = WalkRules(shared_kinds=frozenset({"household_phone"}), max_neighbours=3)
ADA, BOB = Identifier("email", "ada@example.test"), Identifier("email", "bob@example.test")


def test_only_unexplained_identifiers_are_looked_up() -> None:
    carried = [
        Identifier("email", " Ada@Example.TEST"),
        BOB,
        Identifier("household_phone", "+12015550123"),
        Identifier("email", "test@test.com"),
        Identifier("email", "not an address"),
    ]
    assert unexplained(carried, [ADA], RULES) == {BOB}
    assert unexplained(carried, [ADA, BOB], RULES) == set()


@given(st.integers(0, 9), st.booleans())
def test_the_graph_decides_and_a_reviewer_has_the_last_word(degree: int, dropped: bool) -> None:
    answers = {BOB: Neighbours(degree=degree)} if degree else {}
    found = somebody_elses([BOB], answers, [BOB] if dropped else [], RULES)
    # A supernode stands on many people's records and belongs to nobody.
    assert found == ({BOB} if dropped or 1 <= degree <= RULES.max_neighbours else set())
