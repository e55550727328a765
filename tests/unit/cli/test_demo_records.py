"""Before and after, record by record: what counts as left over, and what as a change of somebody else's record."""

from __future__ import annotations

from typing import Any

from connectors.testing.sandbox.sample_warehouse import HeldRows
from service.cli.demo.records import Line, Look, SystemLook, compare

ADA = {"object": "user", "id": 1, "email": "ada@example.test"}
TICKET = {"object": "ticket", "id": 7, "requester_id": 1, "subject": "Tea"}
BOB = {"object": "user", "id": 2, "email": "bob@example.test"}
EMPTIED = {"object": "user", "id": 1, "email": None, "permanently_deleted": True}


def look(rows: list[dict[str, Any]], owned: tuple[dict[str, Any], ...] = (), table: HeldRows | None = None) -> Look:
    keys = frozenset((row["object"], str(row["id"])) for row in owned)
    system = SystemLook({(row["object"], str(row["id"])): row for row in rows}, keys)
    return Look({"support": system}, {"customers": table or HeldRows(0, 0, "0")})


def support(before: Look, after: Look) -> dict[str, Line]:
    return {line.kind: line for line in compare(before, after) if line.system == "support"}


BEFORE = look([ADA, TICKET, BOB], (ADA, TICKET))


def test_records_that_are_gone_are_counted_for_their_owner() -> None:
    lines = support(BEFORE, look([EMPTIED, BOB]))

    assert lines["user"] == Line("support", "user", 1, 0, 1, 1)
    assert lines["ticket"] == Line("support", "ticket", 1, 0, 0, 0)


def test_a_record_without_any_identifier_still_counts_as_left() -> None:
    lines = support(BEFORE, look([EMPTIED, TICKET, BOB]))

    assert lines["ticket"].theirs_after == 1


def test_a_new_record_of_an_erased_person_counts_as_left() -> None:
    returned = {"object": "user", "id": 9, "email": "ada@example.test"}

    assert support(BEFORE, look([EMPTIED, BOB, returned], (returned,)))["user"].theirs_after == 1


def test_a_changed_or_missing_record_of_another_person_is_seen() -> None:
    assert support(BEFORE, look([EMPTIED, BOB | {"email": None}]))["user"].changed
    gone = support(BEFORE, look([EMPTIED]))["user"]
    assert (gone.others_before, gone.others_after, gone.changed) == (1, 0, True)


def test_a_reference_to_an_erased_record_that_is_emptied_is_no_change() -> None:
    referring = BOB | {"referred_by": 1}
    before = look([ADA, referring], (ADA,))

    assert not support(before, look([referring | {"referred_by": None}]))["user"].changed


def test_a_changed_warehouse_row_of_another_person_is_seen() -> None:
    before = look([], table=HeldRows(2, 5, "17"))

    same = compare(before, look([], table=HeldRows(0, 5, "17")))
    other = compare(before, look([], table=HeldRows(0, 5, "18")))

    assert [(line.kind, line.theirs_before, line.theirs_after, line.changed) for line in same] == [
        ("customers", 2, 0, False)
    ]
    assert other[0].changed
