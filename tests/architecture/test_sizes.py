"""Files and functions stay small enough to be read in one sitting."""

from __future__ import annotations

from tests.architecture.house import functions, sources

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50
EXCEPTIONS = {
    # An auditor receives this program as one file and runs it without Expunge, so it can't be divided.
    "service/cli/audit/verify_audit.py": 460,
}


def test_no_file_is_longer_than_its_limit() -> None:
    long = {
        source.path: source.lines
        for source in sources()
        if source.lines > EXCEPTIONS.get(source.path, MOST_LINES_OF_A_FILE)
    }
    assert long == {}, "divide the file by meaning"


def test_every_exception_is_needed() -> None:
    lines = {source.path: source.lines for source in sources()}
    assert [path for path in EXCEPTIONS if lines.get(path, 0) <= MOST_LINES_OF_A_FILE] == []


def test_no_function_is_longer_than_its_limit() -> None:
    long = {
        f"{source.path}::{name}": lines
        for source in sources()
        # A migration is a list of statements that never changes again.
        if "/migrations/" not in source.path
        for name, lines in functions(source)
        if lines > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}, "divide the function by meaning"
