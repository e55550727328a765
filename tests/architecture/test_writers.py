"""One writer per table, SQL from expressions or commented files, no text put together at run time."""

import re

from tests.architecture.house import ROOT, sources, updates

# A table and its mapped class: the folder, or the file, with every UPDATE.
WRITERS = {
    ("steps", "StepRow"): "service/requests/steps/",
    ("batches", "BatchRow"): "service/execution/batches.py",
    ("systems", "SystemRow"): "service/execution/systems/store.py",
    ("requests", "RequestRow"): "service/requests/records/",
    ("identifiers", "IdentifierRow"): "service/requests/identity/store.py",
    ("holds", "HoldRow"): "service/requests/holds/store.py",
    ("imports", "ImportRow"): "service/requests/imports/store.py",
    ("plans", "PlanRow"): "service/requests/planning/store.py",
    ("api_keys", "ApiKeyRow"): "service/access/store.py",
    ("suppression_entries", "SuppressionRow"): "service/requests/planning/store.py",
}


def test_each_table_has_one_writer() -> None:
    # A migration may rewrite rows of any table, once.
    texts = [each for each in sources(rooms=("service", "workers")) if "/migrations/" not in each.path]
    found = updates(texts)
    for (table, mapped), writer in WRITERS.items():
        writers = {*found.get(table, ()), *found.get(mapped, ())}
        assert writers, f"no UPDATE of {table} was found, so that the search is broken"
        assert {path for path in writers if not path.startswith(writer)} == set(), table


def test_requests_are_inserted_by_their_one_writer() -> None:
    files = [*(ROOT / "service").rglob("*.sql"), *(ROOT / "service").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]
    insertion = re.compile(r"\bINSERT INTO requests\b|\binsert\(RequestRow\b")
    found = {
        file.relative_to(ROOT).as_posix()
        for file in files
        if "migrations" not in file.parts and insertion.search(file.read_text(encoding="utf-8"))
    }
    assert found, "no INSERT of requests was found, so that the search is broken"
    assert {path for path in found if not path.startswith(WRITERS["requests", "RequestRow"])} == set()


def test_sql_files_explain_their_plan() -> None:
    files = sorted((ROOT / "service").rglob("*.sql"))
    assert files
    for file in files:
        assert file.read_text(encoding="utf-8").startswith("-- "), f"{file.name} needs a comment about its plan"


PLAIN = re.compile(r"\"[^\"\n]*\bFOR UPDATE\b")


def test_no_statement_locks_for_update() -> None:
    files = [p for room in ("service", "workers") for p in (ROOT / room).rglob("*.py")]
    assert [str(p.relative_to(ROOT)) for p in files if PLAIN.search(p.read_text(encoding="utf-8"))] == []


def test_the_search_finds_one() -> None:
    assert PLAIN.search('text("SELECT 1 FROM requests FOR UPDATE SKIP LOCKED")')
