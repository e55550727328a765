"""Excerpts and tables of the log: what was asked for, the same each time, and nothing can be taken out of them."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from service.audit.exports import slice as export_audit_slice
from service.audit.exports import table as export_audit_table
from service.audit.exports.full import export_audit
from service.audit.exports.slice import excerpt_lines, select_entries
from service.audit.exports.table import csv_lines, write_parquet
from service.cli.audit import verify_audit
from service.cli.audit.verify_audit import Broken, Key, verify_export, verify_slice
from service.domain.audit.canonical_json import encode_canonical
from service.domain.audit.merkle import LeafRange, perfect_subtrees
from service.domain.audit.selection import Selection
from service.domain.audit.signed_note import SigningKey
from service.domain.errors import NotFound
from service.store.audit_log import pages as audit_pages
from service.store.audit_log.findings import AuditLogBroken
from service.store.audit_log.pruned import remember_pruned, remove_prefix
from service.store.audit_log.tree import stored_root
from tests.integration.audit.exports.conftest import ALL, at
from tests.integration.audit.story import Story, ended, name_of


def verdict(content: bytes, key: SigningKey) -> str:
    return verify_slice(io.BytesIO(content), Key(str(key.trusted)))


def entries(content: bytes) -> list[Any]:
    found = [json.loads(line) for line in content.splitlines()]
    return [line["entry"] for line in found if "entry" in line]


# --- what is in it ----------------------------------------------------------------------------------------------------

OF_MAIL = {name_of(f"{word} in mail") for word in ("ada", "bob", "cy")}
# What begins a plan is told once for all of its steps: a system's excerpt has its requests' entries, too.
SELECTIONS: dict[str, tuple[Selection, Callable[[Any, Story], bool]]] = {
    "system": (
        Selection(system="support"),
        lambda e, _: (
            e["data"]["system"] == "support"
            if e["object"] == "batch"
            else e["object_id"] != "mail" and e["object_id"] not in OF_MAIL
        ),
    ),
    "regime": (
        Selection(regime="gdpr"),
        lambda e, _: e["subject"] in {name_of("subject of ada"), name_of("subject of cy")},
    ),
    "both": (
        Selection(regime="ccpa", system="mail"),
        lambda e, _: e["object_id"] in {name_of("bob"), name_of("bob in mail")},
    ),
    "period": (
        Selection(from_at=at(1.5), to_at=at(2.5)),
        lambda e, _: "2026-03-03T21:00:00.000000Z" <= e["at"] < "2026-03-04T21:00:00.000000Z",
    ),
    "from": (Selection(from_at=at(3)), lambda e, _: e["at"] >= "2026-03-05T09:00:00.000000Z"),
    "to": (Selection(to_at=at(1)), lambda e, _: e["at"] < "2026-03-03T09:00:00.000000Z"),
    "nothing": (Selection(from_at=at(90)), lambda e, _: False),
    "no such system": (Selection(system="other"), lambda e, _: False),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_an_excerpt_holds_what_was_asked_for_and_verifies(
    name: str, asked: Any, lines: Any, story: Story, signing_key: SigningKey
) -> None:
    selection, belongs = SELECTIONS[name]
    content = lines(asked(selection))
    told = [json.loads(entry.encode()) for entry in story.entries]
    expected = [entry for entry in told if belongs(entry, story)]
    if selection.is_dense and expected:
        # A period is every entry from the first to the last one written in it, in the order of the log.
        expected = told[told.index(expected[0]) : told.index(expected[-1]) + 1]
    assert entries(content) == expected
    assert verdict(content, signing_key).startswith(f"excerpt of {len(expected)} entries")
    assert expected or name in ("nothing", "no such system")


def test_clocks_that_disagree_leave_nothing_of_a_period_out(
    engine: Engine, signing_key: SigningKey, lines: Any
) -> None:
    story = Story()
    for word, days in (("a", 0), ("b", 2), ("c", 1), ("d", 2), ("e", 4)):
        story.request(word, at(days))
    story.log(engine)
    content = lines(select_entries(engine, signing_key, Selection(from_at=at(2), to_at=at(3))))
    assert [entry["object_id"] for entry in entries(content)] == [name_of(word) for word in "bcd"]
    verdict(content, signing_key)


def test_the_whole_log_is_the_export(asked: Any, lines: Any, engine: Engine, signing_key: SigningKey) -> None:
    content = lines(asked())
    out = io.BytesIO()
    export_audit(engine, signing_key, out)
    assert content == out.getvalue()
    verify_export(io.BytesIO(content), Key(str(signing_key.trusted)))


# --- the same bytes, from anywhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize("selection", [ALL, Selection(regime="gdpr"), Selection(from_at=at(1.5), to_at=at(2.5))])
def test_a_size_that_was_signed_answers_the_same_for_ever(
    selection: Selection, asked: Any, lines: Any, story: Story, engine: Engine
) -> None:
    excerpt = asked(selection)
    before = lines(excerpt), b"".join(csv_lines(engine, excerpt))
    story.request("dee", at(1.7), regime="gdpr")
    story.log(engine)
    assert lines(asked(selection)) != before[0]
    again = asked(selection, excerpt.checkpoint.size)
    assert (lines(again), b"".join(csv_lines(engine, again))) == before


@pytest.mark.parametrize("selection", [ALL, Selection(system="support"), Selection(from_at=at(1.5))])
def test_a_transfer_goes_on_at_any_entry(selection: Selection, asked: Any, lines: Any, engine: Engine) -> None:
    excerpt = asked(selection)
    for whole in (lines(excerpt), b"".join(csv_lines(engine, excerpt))):
        is_csv = not whole.startswith(b"{")
        rest = b"".join(csv_lines(engine, excerpt, start=17)) if is_csv else lines(excerpt, 17)
        assert whole.endswith(rest)
        had = whole[: -len(rest)]
        indexes = [row["index"] for row in csv.DictReader(io.StringIO(had.decode()))] if is_csv else None
        last = int(indexes[-1]) if indexes else json.loads(had.splitlines()[-1])["index"]
        assert 0 <= last < 17, "a line was lost or came twice"


def test_going_on_after_the_last_entry_gives_the_end(asked: Any, lines: Any) -> None:
    excerpt = asked()
    assert lines(excerpt, excerpt.checkpoint.size) == lines(excerpt).splitlines(keepends=True)[-1]


def test_a_size_that_nobody_signed_is_refused(asked: Any) -> None:
    size = asked().checkpoint.size
    with pytest.raises(NotFound):
        asked(ALL, size + 1)


@pytest.mark.slow(seconds=13)
def test_memory_does_not_grow_with_the_log(
    engine: Engine, signing_key: SigningKey, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_pages, "PAGE", 50)
    monkeypatch.setattr(export_audit_table, "_LINES_AT_ONCE", 50)
    story, peaks = Story(), []
    # The first round only warms up what is made once: the driver's prepared statements, the compiled queries.
    for round_, steps in enumerate((100, 200, 1200)):
        for number in range(steps):
            story.step(f"{round_} {number}", "support", at(number), ended("absent"))
        story.log(engine)
        story.entries.clear()
        story._logged = 0
        excerpt = select_entries(engine, signing_key, Selection(from_at=at(-1)))
        tracemalloc.start()
        for _ in excerpt_lines(engine, signing_key, excerpt):
            pass
        for _ in csv_lines(engine, excerpt):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert excerpt.end == 4500
    # Five times the entries: keeping their bytes alone would take a megabyte and a half. The interpreter itself keeps
    # up to 2,000 freed tuples of each length, and proofs have two more hashes than before.
    assert peaks[2] < peaks[1] + 500_000, peaks


# --- nothing can be taken out -----------------------------------------------------------------------------------------


def test_every_bit_of_an_excerpt_matters(asked: Any, lines: Any, signing_key: SigningKey) -> None:
    content = lines(asked(Selection(regime="ccpa", system="mail")))
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        with pytest.raises(Broken):
            verdict(bytes(changed), signing_key)


@pytest.mark.parametrize("selection", [Selection(regime="gdpr"), Selection(to_at=at(2))])
def test_no_line_can_be_taken_out_doubled_or_moved(
    selection: Selection, asked: Any, lines: Any, signing_key: SigningKey
) -> None:
    whole = lines(asked(selection)).splitlines(keepends=True)
    for place in range(len(whole)):
        for changed in (
            whole[:place] + whole[place + 1 :],
            whole[: place + 1] + whole[place:],
            [*whole[:place], *reversed(whole[place : place + 2]), *whole[place + 2 :]],
            whole[:place],
        ):
            if changed != whole:
                with pytest.raises(Broken):
                    verdict(b"".join(changed), signing_key)


def resigned(content: list[bytes], key: SigningKey) -> bytes:
    """An excerpt that the owner of the key made from other lines: its signature holds."""
    end: dict[str, Any] = {
        "entries": len(content) - 1,
        "sha256": hashlib.sha256(b"".join(content)).hexdigest(),
    }
    end["signature"] = _base64(key.sign(b"expunge-audit-slice/1\n" + encode_canonical(end)))
    return b"".join(content) + encode_canonical(end) + b"\n"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def test_what_the_key_owner_takes_out_shows_by_counters_and_indexes(
    asked: Any, lines: Any, signing_key: SigningKey
) -> None:
    of_system = lines(asked(Selection(system="support"))).splitlines(keepends=True)[:-1]
    verdict(resigned(of_system, signing_key), signing_key)
    # The step's second entry of several: its chain has a hole.
    with pytest.raises(Broken, match="expected version 2"):
        verdict(
            resigned([line for line in of_system if b'"version":2,' not in line.replace(b"}", b",")], signing_key),
            signing_key,
        )
    of_period = lines(asked(Selection(to_at=at(2)))).splitlines(keepends=True)[:-1]
    for place, words in ((1, "expected index 0"), (5, "expected index 4"), (len(of_period) - 1, "are missing")):
        with pytest.raises(Broken, match=words):
            verdict(resigned(of_period[:place] + of_period[place + 1 :], signing_key), signing_key)


def test_what_the_key_owner_changes_shows_by_the_proof(asked: Any, lines: Any, signing_key: SigningKey) -> None:
    content = lines(asked(Selection(regime="gdpr"))).splitlines(keepends=True)[:-1]
    changed = [line.replace(b'"erased_verified"', b'"absent"') for line in content]
    assert changed != content
    with pytest.raises(Broken, match="proof doesn't lead"):
        verdict(resigned(changed, signing_key), signing_key)


# --- damage behind it -------------------------------------------------------------------------------------------------

DAMAGE = {
    "an entry": "UPDATE audit_leaves SET entry = decode(replace(encode(entry, 'escape'), 'erased_verified', 'absent'), "
    "'escape') WHERE index = 7",
    "a regime": "UPDATE audit_leaves SET entry = decode(replace(encode(entry, 'escape'), 'gdpr', 'ccpa'), 'escape') "
    "WHERE index = 2",
    "no entry": "UPDATE audit_leaves SET entry = set_byte(entry, 30, 0) WHERE index = 9",
    "a row": "DELETE FROM audit_leaves WHERE index = 12",
    "the last row": "DELETE FROM audit_leaves WHERE index = (SELECT max(index) FROM audit_leaves)",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("selection", [ALL, Selection(regime="gdpr"), Selection(system="mail")])
def test_nothing_is_handed_out_whole_from_a_damaged_log(
    damage: str, selection: Selection, asked: Any, lines: Any, tamper: Any, engine: Engine, tmp_path: Path
) -> None:
    size = asked().checkpoint.size
    excerpt = asked(selection)
    tamper(DAMAGE[damage])
    attempts: list[Callable[[], object]] = [
        lambda: b"".join(csv_lines(engine, excerpt)),
        lambda: write_parquet(engine, excerpt, tmp_path / "audit.parquet"),
        lambda: lines(asked(selection, size)),
    ]
    for attempt in attempts:
        with pytest.raises(AuditLogBroken):
            attempt()
    assert list(tmp_path.glob("*.parquet*")) == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_findings")).scalar_one() >= 1


# --- tables -----------------------------------------------------------------------------------------------------------


# --- the manifest -----------------------------------------------------------------------------------------------------


def test_an_auditor_verifies_with_the_one_file_alone(
    signed: tuple[bytes, bytes], asked: Any, lines: Any, signing_key: SigningKey, tmp_path: Path
) -> None:
    shutil.copy(verify_audit.__file__, tmp_path / "verify_audit.py")
    (tmp_path / "audit.pub").write_text(f"{signing_key.trusted}\n")
    (tmp_path / "table.csv").write_bytes(signed[0])
    (tmp_path / "table.manifest").write_bytes(signed[1])
    (tmp_path / "part.jsonl").write_bytes(lines(asked(Selection(system="support"))))
    (tmp_path / "audit.jsonl").write_bytes(lines(asked()))

    def run(*arguments: str) -> Iterator[Any]:
        command = [sys.executable, "-I", "verify_audit.py", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        return iter((done.returncode, done.stdout))

    for arguments in (("part.jsonl",), ("audit.jsonl",), ("table.csv", "--manifest", "table.manifest")):
        code, out = run(*arguments)
        assert code == 0, out
        assert "VERIFIED" in out
    code, out = run("part.jsonl", "--manifest", "table.manifest")
    assert (code, "BROKEN" in out) == (1, True)


def test_a_log_whose_beginning_was_removed_still_proves_the_rest(
    engine: Engine, signing_key: SigningKey, asked: Any, lines: Any, story: Story
) -> None:
    size = asked().checkpoint.size
    with engine.begin() as connection:
        subtrees = perfect_subtrees(LeafRange(0, 6))
        root = stored_root(connection, 6)
        remove_prefix(connection, 6, keep=subtrees)
        remember_pruned(connection, 6, root)
    content = lines(asked(ALL, size))
    assert verdict(content, signing_key).startswith(f"excerpt of {size - 6} entries, indexes 6 to {size}")
    assert len(b"".join(csv_lines(engine, asked(ALL, size))).splitlines()) == size - 6 + 1
    verdict(lines(asked(Selection(from_at=at(2)))), signing_key)
    with pytest.raises(NotFound):
        asked(ALL, 2)


def test_pages_leave_no_gap_unseen(engine: Engine, story: Story, asked: Any, tamper: Any) -> None:
    size = asked().checkpoint.size
    tamper("DELETE FROM audit_leaves WHERE index = 5")
    with pytest.raises(AuditLogBroken, match="leaf 5"):
        list(audit_pages.read_pages(engine, 0, size))
    with pytest.raises(AuditLogBroken, match=f"leaf {size}"):
        list(audit_pages.read_pages(engine, 6, size + 1))


def test_no_transaction_is_open_while_somebody_reads_slowly(
    engine: Engine, signing_key: SigningKey, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_pages, "PAGE", 5)
    reading = excerpt_lines(engine, signing_key, asked(Selection(regime="gdpr")))
    next(reading)
    next(reading)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # the pool that the engine has
    assert export_audit_slice.SLICE_FORMAT == verify_audit.SLICE_FORMAT
