"""A plan's hash: the same for the same content in any order, another one for any other content."""

from __future__ import annotations

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from service.domain.audit.canonical_json import encode_canonical
from service.domain.requests.plan import PlannedSystem, plan_hash

hashes = st.lists(st.binary(min_size=4, max_size=4), max_size=4)
systems = st.lists(
    st.builds(
        PlannedSystem,
        st.sampled_from(["crm", "support", "mailing"]),
        st.sampled_from(["zendesk", "mailchimp"]),
        hashes.map(tuple),
    ),
    max_size=3,
    unique_by=lambda s: s.system,
)


def content(identifiers: list[bytes], planned: list[PlannedSystem]) -> object:
    return set(identifiers), {(s.system, s.connector, frozenset(s.record_hashes)) for s in planned}


@given(hashes, systems, st.integers(1, 9))
def test_it_is_taken_over_the_canonical_form(identifiers: list[bytes], planned: list[PlannedSystem], n: int) -> None:
    form = {
        "subject": "ab",
        "version": n,
        "identifiers": sorted({h.hex() for h in identifiers}),
        "systems": [
            {"system": s.system, "connector": s.connector, "records": sorted({h.hex() for h in s.record_hashes})}
            for s in sorted(planned, key=lambda s: s.system)
        ],
    }
    expected = hashlib.sha256(encode_canonical(form)).hexdigest()  # type: ignore[arg-type]  # lists of str are JSON
    assert plan_hash("ab", n, identifiers, planned) == expected


@given(hashes, systems, st.randoms())
def test_order_and_repeats_change_nothing(
    identifiers: list[bytes], planned: list[PlannedSystem], chance: random.Random
) -> None:
    mixed, others = identifiers * 2, list(planned)
    chance.shuffle(mixed)
    chance.shuffle(others)
    assert plan_hash("ab", 1, identifiers, planned) == plan_hash("ab", 1, mixed, others)


@given(hashes, systems, hashes, systems)
def test_any_other_content_has_another_hash(
    one: list[bytes], planned: list[PlannedSystem], two: list[bytes], others: list[PlannedSystem]
) -> None:
    same = plan_hash("ab", 1, one, planned) == plan_hash("ab", 1, two, others)
    assert same == (content(one, planned) == content(two, others))
    assert plan_hash("ab", 1, one, planned) != plan_hash("ab", 2, one, planned)
    assert plan_hash("ab", 1, one, planned) != plan_hash("cd", 1, one, planned)
