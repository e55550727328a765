"""Count SQL that isn't an expression or a `.sql` file, and `Any`, per room.

`python -m tests.architecture.sql` prints the table of `test_sql.py` as it should be now, and each finding.
SQLAlchemy expressions have no text, so that they are never found. Text is taken for SQL when it begins as a statement
or as a clause does, or when it is read by `load_sql`, or when it is bound to a name of the same file that is.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.architecture.english import room_of
from tests.architecture.house import Source, sources, sql_literals, text_of

_CLAUSE = re.compile(
    r"\s*,?\s*(?:(?:AND|OR|FROM|WHERE|JOIN|(?:LEFT|RIGHT|FULL|INNER|CROSS) (?:OUTER )?JOIN|ORDER BY|GROUP BY|HAVING"
    r"|LIMIT|FOR (?:NO KEY )?(?:UPDATE|SHARE)|RETURNING|VALUES|ON CONFLICT|UNION|INTERSECT|EXCEPT|CASE WHEN)\b"
    r"|(?:NOT )?EXISTS ?\(|CAST\(|\w+ AS (?:(?:NOT )?MATERIALIZED )?\((?:SELECT|INSERT|UPDATE|DELETE|WITH))"
)
_STATEMENT = re.compile(
    r"\s*(?:\(\s*)?(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|MERGE INTO|COPY|CREATE|ALTER|DROP|VACUUM|LOCK TABLE"
    r"|TRUNCATE)\s"
)
_BUILDING_METHODS = frozenset({"format", "format_map", "replace", "join"})


class Counts(NamedTuple):
    """Findings of one room, in the order of the table of `test_sql.py`."""

    built: int = 0
    s608: int = 0
    literals: int = 0
    rows: int = 0
    anys: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: `kind` is a field of `Counts`."""

    kind: str
    path: str
    line: int
    text: str

    @property
    def room(self) -> str:
        return room_of(self.path)


def _assignments(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign | ast.AugAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def _is_sql(node: ast.AST, names: set[str]) -> bool:
    """Whether the value of the expression is SQL text."""
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.BinOp):
        return _is_sql(node.left, names) or _is_sql(node.right, names)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return node.func.id == "load_sql"
        return isinstance(node.func, ast.Attribute) and _is_sql(node.func.value, names)
    text = text_of(node)
    if text is not None and (_STATEMENT.match(text) or _CLAUSE.match(text)):
        return True
    return isinstance(node, ast.JoinedStr) and any(
        _is_sql(part.value, names) for part in node.values if isinstance(part, ast.FormattedValue)
    )


def names_of_sql(tree: ast.AST) -> set[str]:
    """Names of a file that are bound to SQL text."""
    found: set[str] = set()
    while more := {name for name, value in _assignments(tree) if name not in found and _is_sql(value, found)}:
        found |= more
    return found


def _puts_together(node: ast.AST, names: set[str]) -> bool:
    match node:
        case ast.JoinedStr(values=values):
            return any(isinstance(part, ast.FormattedValue) for part in values) and _is_sql(node, names)
        case ast.BinOp(op=ast.Add() | ast.Mod()):
            return _is_sql(node, names)
        case ast.Call(func=ast.Attribute(attr=name, value=receiver)) if name in _BUILDING_METHODS:
            return _is_sql(receiver, names)
        case ast.AugAssign(op=ast.Add() | ast.Mod(), target=target, value=value):
            return _is_sql(target, names) or _is_sql(value, names)
    return False


def built_sql(source: Source) -> Iterator[ast.AST]:
    """Expressions that put SQL text together: the outermost of nested ones."""
    tree = source.tree
    names = names_of_sql(tree)

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if _puts_together(node, names):
            yield node
        else:
            for child in ast.iter_child_nodes(node):
                yield from walk(child)

    return walk(tree)


def short_statements(source: Source) -> Iterator[ast.expr]:
    """Statements in `text("...")` that are too short for `sql_literals`: a call of a function, no table."""
    known = {text for _, text in sql_literals(source)}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "text" and node.args:
            words = text_of(node.args[0])
            if words is not None and _STATEMENT.match(words) and words not in known:
                yield node.args[0]


def _is_row_of_any(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and ast.unparse(node) == "Row[Any]"


# Auditors run this single file without Expunge and SQLAlchemy; it keeps its notes in SQLite.
STANDALONE = "service/cli/audit/verify_audit.py"


def findings(all_sources: Iterable[Source]) -> Iterator[Finding]:
    """Every finding of these files. Migrations aren't read, because their SQL text is the schema's history."""
    for source in all_sources:
        if "/migrations/" in source.path:
            continue
        lines = source.text.splitlines()

        def found(kind: str, line: int, path: str = source.path, lines: list[str] = lines) -> Finding:
            return Finding(kind, path, line, lines[line - 1].strip())

        for node in built_sql(source):
            assert isinstance(node, ast.expr | ast.stmt)
            yield found("built", node.lineno)
        for number, line in enumerate(lines, 1):
            if re.search(r"#.*\bnoqa:.*\bS608\b", line):
                yield found("s608", number)
        for literal, _ in sql_literals(source) if source.path != STANDALONE else ():
            assert isinstance(literal, ast.expr)
            yield found("literals", literal.lineno)
        for node in short_statements(source) if source.path != STANDALONE else ():
            yield found("literals", node.lineno)
        for node in ast.walk(source.tree):
            if _is_row_of_any(node) and not source.path.endswith("/store.py"):
                assert isinstance(node, ast.expr)
                yield found("rows", node.lineno)
            if isinstance(node, ast.Name) and node.id == "Any" and source.path.startswith("service/"):
                yield found("anys", node.lineno)


def counts(found: Iterable[Finding]) -> dict[str, Counts]:
    """Per room with findings, how many of each kind."""
    per_room = Counter((each.room, each.kind) for each in found)
    return {
        room: Counts(*(per_room[room, kind] for kind in Counts._fields))
        for room in sorted({room for room, _ in per_room})
    }


def line_of(room: str, now: Counts) -> str:
    """The line of the table in `test_sql.py`."""
    return f'    "{room}": ({", ".join(map(str, now))}),'


def main() -> None:
    found = list(findings(sources()))
    for each in found:
        print(f"{each.path}:{each.line}: {each.kind}: {each.text[:120]}")
    for room, now in counts(found).items():
        print(line_of(room, now))


if __name__ == "__main__":
    main()
