"""Cases about a connector's imports and output.

It knows `connectors.base` only, and prints nothing personal.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from connectors.base.errors import ConnectorError
from connectors.base.interface import Operation
from connectors.base.values import Identifier, Subject
from connectors.testing.conformance.case import Case

_LEVELS = ("draft", "verified", "watched")


class SilenceCases:
    """Mixed into ConformanceSuite.

    *Every* case of the suite ends with a check that nothing personal was printed.
    """

    def test_declares_what_it_can(self, case: Case) -> None:
        """A declaration without holes: every operation has a limit, the README's level is one of three."""
        declared = case.vendor.connector().declaration
        assert declared.name == case.vendor.name
        assert case.vendor.kind in declared.identifier_kinds
        assert {Operation.ERASE} <= declared.operations
        assert declared.can_confirm == (Operation.CONFIRM in declared.operations)
        assert Operation.LOCATE in declared.operations or not declared.searches_first, "who searches can `locate`"
        assert declared.level in _LEVELS
        for operation in declared.operations:
            assert declared.batch_limit(operation) >= 1
        assert declared.max_concurrency >= 1

    def test_imports_the_base_only(self, case: Case) -> None:
        """No service, no workers, no other vendor: the connector can live in a package of its own."""
        kind = case.vendor.connector()
        own = kind.__module__.rpartition(".")[0] or kind.__module__
        foreign = sorted(name for path in _sources(kind) for name in _imports(path) if _is_foreign(name, own))
        assert not foreign, f"imports {foreign}"

    def test_errors_and_reprs_are_silent(self, case: Case) -> None:
        """A person whose identifier nobody can use: whatever is raised or answered says nothing about them."""
        ada = case.seed_with_neighbours()
        connector = case.connect()
        batch = case.frozen(connector, ada)
        for subject in (Subject("empty", ()), Subject("blank", (Identifier(case.vendor.kind, " "),))):
            try:
                ask = connector.locate if case.can_locate(connector) else connector.confirm_absence
                case.results += ask(batch).values()
                case.results += ask(type(batch)("conformance-2", (subject,))).values()
            except ConnectorError as error:
                case.results.append(error)
        case.results += [batch, connector, connector.system, connector.declaration]
        for text in map(repr, (batch, connector, connector.system)):
            assert ada.identifier.value not in text
            assert ada.name not in text

    def test_counts_its_calls_and_asks_before_each(self, case: Case) -> None:
        """`calls` is reported to operators who pay per call; a call without the pacer breaks a limit."""
        if case.running.sandbox is None:
            pytest.skip(f"{case.vendor.name} isn't spoken to over HTTP")
        ada = case.seed_with_neighbours()
        case.sandbox.journal.clear()
        pacer = _CountingPacer()
        connector = case.connect_paced(pacer)
        case.run(ada, connector=connector)
        assert connector.calls == len(case.sandbox.journal), "`calls` isn't the number of calls made"
        assert pacer.asked == connector.calls, "calls were made that the system's pacer wasn't asked about"
        assert pacer.told == connector.calls, "the system's pacer wasn't told what came of its calls"


class _CountingPacer:
    def __init__(self) -> None:
        self.asked = 0
        self.told = 0

    def before_call(self, *, changes: bool) -> None:
        self.asked += 1

    def after_call(self, headers: Mapping[str, str], error: ConnectorError | None = None) -> None:
        self.told += 1


def _sources(kind: type) -> Iterator[Path]:
    """The connector's own folder if it has one (a package with `__init__.py`), else its module."""
    path = Path(inspect.getfile(kind))
    return iter(sorted(path.parent.rglob("*.py"))) if (path.parent / "__init__.py").exists() else iter((path,))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_foreign(name: str, own: str) -> bool:
    root = name.split(".", maxsplit=1)[0]
    if root in ("service", "workers"):
        return True
    if root != "connectors" or name == own or name.startswith(f"{own}."):
        return False
    # A package holds its stand-in too, which is made with the harness, and perhaps its tests.
    is_offered = name.startswith(("connectors.base.", "connectors.testing."))
    return not is_offered or name.startswith("connectors.base.runner")
