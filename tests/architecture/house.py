"""Measure the structure of the product: files and lines per folder, SQL, `Any`, writers of each table.

`python -m tests.architecture.house` prints the tables; `--root DIR` measures another checkout, so that two versions can
be compared. The tests of this folder use the same functions: a figure has one definition. Every figure is read from the
source text; nothing is imported or run.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("service", "workers", "connectors")
# Equipment: what a running installation doesn't need. Stand-ins, the conformance suite, the demo, the embedded servers.
EQUIPMENT = re.compile(r"/sandbox(/|_|\.py)|/conformance/|^connectors/testing/|^service/cli/demo/|^service/embedded/")
_SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|MERGE INTO|COPY|CREATE|ALTER|VACUUM|SET|LOCK)\b(?s:.)*"
)
_WORDS_OF_SQL = re.compile(r"\b(FROM|VALUES|SET|WHERE|RETURNING|AS|TABLE|STDIN|LOCAL|IN)\b")
_UPDATE = re.compile(r"\bUPDATE (?:ONLY )?([a-z_]+)\b(?=\s+(?:AS\s+)?\w*\s*SET\b|\s+SET\b)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file of the product."""

    path: str
    text: str

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


def sources(root: Path = ROOT, rooms: Iterable[str] = PRODUCT) -> list[Source]:
    """Every Python file under these folders that git knows or would add."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *rooms]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    names = sorted({name for name in listed.split("\0") if name.endswith(".py") and (root / name).is_file()})
    return [Source(name, (root / name).read_text(encoding="utf-8")) for name in names]


def is_equipment(source: Source) -> bool:
    return EQUIPMENT.search(source.path) is not None


def _documents(tree: ast.Module) -> set[int]:
    """Identities of the nodes that are docstrings."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(id(first.value))
    return found


def text_of(node: ast.AST) -> str | None:
    """The text of a string literal; an f-string's with `?` for each of its values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "?" for part in node.values)
    return None


def sql_literals(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """String literals that are SQL statements, docstrings left out."""
    tree = source.tree
    skipped = _documents(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in ast.walk(node) if part is not node)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        text = text_of(node)
        if text is not None and _SQL.fullmatch(text) and _WORDS_OF_SQL.search(text) and len(text.split()) >= 3:
            yield node, text


def updates(all_sources: Iterable[Source]) -> dict[str, Counter[str]]:
    """Table -> how many UPDATE statements each file has, as SQL text or as `update(Table)` expressions."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for source in all_sources:
        for _, text in sql_literals(source):
            for table in _UPDATE.findall(text):
                found[table][source.path] += 1
        for node in ast.walk(source.tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "update"
                and node.args
            ):
                found[ast.unparse(node.args[0])][source.path] += 1
    return found


def any_annotations(source: Source) -> int:
    """How often the source names typing.Any, its import left out."""
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(source.tree))


def functions(source: Source) -> Iterator[tuple[str, int]]:
    """Each function's name and length in lines."""
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def _table(title: str, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    print(f"\n{title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def report(root: Path) -> None:
    """Print every figure of one checkout as Markdown tables."""
    found = sources(root)
    product = [source for source in found if not is_equipment(source)]
    folders: dict[str, list[Source]] = defaultdict(list)
    for source in found:
        folders[source.folder].append(source)
    _table(
        "Folders",
        ("folder", "files", "lines", "median", "longest"),
        [
            (
                name,
                len(held),
                sum(s.lines for s in held),
                int(statistics.median(s.lines for s in held)),
                max(s.lines for s in held),
            )
            for name, held in sorted(folders.items())
        ],
    )
    lengths = [length for source in found for _, length in functions(source)]
    service = [source for source in found if source.path.startswith("service/")]
    statements = [
        (source, text)
        for source in found
        for _, text in sql_literals(source)
        if not source.path.startswith("connectors")
    ]
    _table(
        "Totals",
        ("figure", "value"),
        [
            ("Python files", len(found)),
            ("lines", sum(source.lines for source in found)),
            ("lines without equipment", sum(source.lines for source in product)),
            ("files over 400 lines", sum(source.lines > 400 for source in found)),
            ("folders over 20 files", sum(len(held) > 20 for held in folders.values())),
            ("median file", int(statistics.median(source.lines for source in found))),
            ("median / longest function", f"{int(statistics.median(lengths))} / {max(lengths)}"),
            ("SQL string literals in service and workers", len(statements)),
            ("files with them", len({source.path for source, _ in statements})),
            ("`Any` in service", sum(any_annotations(source) for source in service)),
            ("`Row[Any]` in service", sum(source.text.count("Row[Any]") for source in service)),
            ("S608 exceptions", sum(source.text.count("S608") for source in found)),
        ],
    )
    writers = [
        (table, sum(files.values()), len(files))
        for table, files in sorted(updates(found).items(), key=lambda pair: -sum(pair[1].values()))
    ]
    _table("UPDATE statements", ("table", "statements", "files"), [row for row in writers if row[1] > 0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure the structure of the product.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to measure")
    report(parser.parse_args().root)
