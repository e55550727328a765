"""Erased people among those seen in a system: recognised by hashes alone, in any order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from service.domain.suppression.reappearance import Entry, Known, Origin, Sighting, Verdict, judge

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ADA, EVE, AGAIN = UUID(int=1), UUID(int=2), UUID(int=3)


def sighting(record: str, *hashes: str, at: datetime = NOW) -> Sighting:
    return Sighting(record.encode(), at, frozenset(h.encode() for h in hashes))


def entry(keyed_hash: str, request: UUID, *, days: int = 0) -> Entry:
    return Entry(keyed_hash.encode(), request, NOW - timedelta(days=days))


def origin(request: UUID, person: UUID | None = None, *, is_at_work: bool = False, kept: str = "") -> Origin:
    return Origin(request, person or request, "gdpr", is_at_work, frozenset({kept.encode()} - {b""}))


def known(*entries: Entry, origins: tuple[Origin, ...] = (), **more: object) -> Known:
    named = {o.request_id: o for o in origins}
    return Known(entries, {e.request_id: named.get(e.request_id, origin(e.request_id)) for e in entries}, **more)  # type: ignore[arg-type]


def people(verdict: Verdict) -> dict[UUID, set[bytes]]:
    return {each.person: each.hashes for each in verdict.reappeared}


def test_a_record_that_is_not_on_the_list_is_ignored() -> None:
    assert judge([sighting("r", "x"), sighting("q")], known(entry("a", ADA))) == Verdict()


def test_records_of_one_person_are_grouped_with_list_entries() -> None:
    verdict = judge([sighting("r", "a", "x"), sighting("q", "b")], known(entry("a", ADA), entry("b", ADA)))
    assert people(verdict) == {ADA: {b"a", b"b"}}
    assert [s.record_hash for s in verdict.reappeared[0].sightings] == [b"r", b"q"]


def test_a_record_with_identifiers_of_two_people_is_the_ones_with_most_of_them() -> None:
    shared = known(entry("p", ADA, days=9), entry("p", EVE), entry("e", EVE))
    assert people(judge([sighting("r", "p", "e")], shared)) == {EVE: {b"p", b"e"}}
    # With as many, the one who was listed first.
    assert people(judge([sighting("r", "p")], shared)) == {ADA: {b"p"}}


def test_a_second_return_goes_back_to_the_first_request() -> None:
    back = known(entry("a", ADA, days=9), entry("a", AGAIN), origins=(origin(AGAIN, ADA),))
    assert people(judge([sighting("r", "a")], back)) == {ADA: {b"a"}}


def test_a_person_with_unfinished_work_is_looked_at_later() -> None:
    at_work = known(entry("a", ADA), origins=(origin(ADA, is_at_work=True),))
    assert judge([sighting("r", "a")], at_work) == Verdict((), frozenset({ADA}))
    held = known(entry("a", ADA), holders={b"a": {EVE}, b"x": {AGAIN}})
    assert judge([sighting("r", "a", "x")], held) == Verdict((), frozenset({EVE}))


def test_reported_refused_or_retained_records_open_no_request() -> None:
    seen = [sighting("r", "a")]
    assert judge(seen, known(entry("a", ADA), told={(b"r", NOW)})) == Verdict()
    assert people(judge(seen, known(entry("a", ADA), told={(b"r", NOW - timedelta(days=1))}))) == {ADA: {b"a"}}
    assert judge(seen, known(entry("a", ADA), refused={(ADA, b"a")})) == Verdict()
    assert people(judge(seen, known(entry("a", EVE), refused={(ADA, b"a")}))) == {EVE: {b"a"}}
    assert judge(seen, known(entry("a", ADA), origins=(origin(ADA, kept="r"),))) == Verdict()
    assert people(judge(seen, known(entry("a", ADA), origins=(origin(ADA, kept="q"),)))) == {ADA: {b"a"}}


def test_a_refused_identifier_does_not_hide_another() -> None:
    verdict = judge([sighting("r", "a", "b")], known(entry("a", ADA), entry("b", ADA), refused={(ADA, b"a")}))
    assert people(verdict) == {ADA: {b"b"}}


_HASHES = st.sampled_from(["a", "b", "c", "d"])


@given(
    st.lists(st.tuples(st.integers(0, 5), st.frozensets(_HASHES, max_size=3)), max_size=6),
    st.lists(st.tuples(_HASHES, st.sampled_from([ADA, EVE, AGAIN])), max_size=6),
    st.randoms(use_true_random=False),
)
def test_the_order_of_a_page_and_of_the_list_changes_nothing(
    records: list[tuple[int, frozenset[str]]], listed: list[tuple[str, UUID]], random: object
) -> None:
    sightings = [sighting(str(n), *hashes) for n, hashes in records]
    entries = [entry(h, request) for h, request in dict.fromkeys(listed)]
    origins = (origin(AGAIN, ADA), origin(EVE, is_at_work=True))
    one = judge(sightings, known(*entries, origins=origins))
    random.shuffle(sightings)  # type: ignore[attr-defined]  # it is a Random
    random.shuffle(entries)  # type: ignore[attr-defined]
    other = judge(sightings, known(*entries, origins=origins))
    assert (people(one), one.waits_for) == (people(other), other.waits_for)
    # Nobody is in it who has no identifier on the list, nor with another than those.
    on_list = {e.keyed_hash for e in entries}
    assert all(each.hashes <= on_list and each.hashes for each in one.reappeared)
