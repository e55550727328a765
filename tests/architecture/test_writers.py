"""One writer per table, SQL from expressions or commented files, no text put together at run time."""

from tests.architecture.house import ROOT, sources, updates

WRITERS = {"steps": "service/requests/steps/", "StepRow": "service/requests/steps/"}


def test_steps_have_one_writer() -> None:
    found = updates(sources(rooms=("service", "workers")))
    for table, folder in WRITERS.items():
        assert {path for path in found.get(table, ()) if not path.startswith(folder)} == set()


def test_sql_files_explain_their_plan() -> None:
    files = sorted((ROOT / "service").rglob("*.sql"))
    assert files
    for file in files:
        assert file.read_text(encoding="utf-8").startswith("-- "), f"{file.name} needs a comment about its plan"
