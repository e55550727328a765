"""Old names of settings, metrics and columns, from the tables of CHANGELOG.md, are in no code and no document."""

from __future__ import annotations

import re

import pytest

from connectors.base.config import ConfigurationError
from service.settings import parse_settings
from service.store.tables import metadata
from tests.architecture.house import ROOT, sources

_CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def _table(kind: str) -> list[tuple[str, str]]:
    rows = _CHANGELOG.partition(f"| {kind} before | {kind} now |\n")[2].split("\n\n")[0]
    return re.findall(r"^ *\| `([^`]+)` \| `([^`]+)` \|$", rows, re.MULTILINE)


SETTINGS = _table("setting")
METRICS = _table("metric")
COLUMNS = _table("column")


_VAULT = {"url": "https://vault.example.test", "token_file": "token"}
_BESIDE = {
    "keys.audit_vault": _VAULT,
    "keys.epoch_vault": _VAULT,
    "audit.anchors": {"kind": "timestamp", "name": "a", "directory": "d", "url": "https://tsa.example.test"},
}


def _parsed(setting: str) -> None:
    """Parse a configuration with this setting, whose value is of no type that a setting has."""
    section, _, key = setting.rpartition(".")
    innermost: object = {**_BESIDE.get(section, {}), key: {"a": object()}}
    outer, _, inner = section.partition(".")
    parse_settings({outer: {inner: [innermost] if inner == "anchors" else innermost} if inner else innermost})


@pytest.mark.parametrize(("before", "now"), SETTINGS)
def test_an_old_setting_is_unknown_and_the_new_one_is_known(before: str, now: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"unknown key '{before.rpartition('.')[2]}'"):
        _parsed(before)
    with pytest.raises(ConfigurationError) as refused:
        _parsed(now)
    assert "unknown key" not in str(refused.value)


def test_no_document_and_no_code_has_an_old_name() -> None:
    old = [name.rpartition(".")[2] for name, _ in SETTINGS] + [name for name, _ in METRICS]
    # `roots` and `most` are words of other things, too.
    words = re.compile(r"\b(?:" + "|".join(sorted(set(old) - {"roots", "most"})) + r")\b")
    documents = [path for folder in ("docs", "deploy") for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in documents}
    texts |= {source.path: source.text for source in sources() if not source.path.startswith("connectors/")}
    assert {path: words.findall(text) for path, text in texts.items() if words.search(text)} == {}
    assert len(SETTINGS) >= 19
    assert len(METRICS) >= 8


def test_every_new_metric_is_in_the_table_of_metrics() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    assert [now for _, now in METRICS if f"`{now}`" not in page] == []


@pytest.mark.parametrize(("before", "now"), COLUMNS)
def test_an_old_column_is_gone_and_the_new_one_is_mapped(before: str, now: str) -> None:
    columns = {f"{table.name}.{column.name}" for table in metadata.tables.values() for column in table.columns}
    assert before not in columns
    assert now in columns


def test_no_statement_has_an_old_column() -> None:
    # Certificates keep `left_over` and audit entries `linked_to`, because the verifier reads those that were exported;
    # `rounds` is a common word.
    words = {before.partition(".")[2] for before, _ in COLUMNS} - {"left_over", "linked_to", "rounds"}
    old = re.compile(r"\b(?:" + "|".join(sorted(words)) + r")\b")
    texts = {source.path: source.text for source in sources() if "/migrations/" not in source.path}
    for room in ("service", "workers"):
        texts |= {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / room).rglob("*.sql")}
    mine = {path: text for path, text in texts.items() if not path.startswith("connectors/")}
    assert {path: set(old.findall(text)) for path, text in mine.items() if old.search(text)} == {}
    assert len(COLUMNS) >= 11
