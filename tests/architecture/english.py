"""Count sentences of documents, docstrings, comments and help texts that break the project's English, per room.

`python -m tests.architecture.english` prints the table of `test_english.py` as it should be now, and each finding.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import click
import typer

from service.cli.main import app
from tests.architecture.house import ROOT, Source, sources

MOST_OF_A_FIRST_LINE = 100
HELP = "help texts"
# Rooms with a number of their own inside a larger one; every other room is a path's first two parts.
OWN_ROOMS = ("service/domain/execution/decide.py", "service/requests/steps", "connectors/base/kit", "docs/develop")

_SUBJECT = re.compile(r"(?:who|whoever|whose|what|nobody|somebody|whichever)(?:'s)?\b(?! -)", re.IGNORECASE)
# `noqa: S608 - reason` and `type: ignore[code]  # reason`: the reason is prose.
_MARKER = re.compile(r"(?:noqa|type: ignore|pragma|ruff)\b[^-#]*(?:[-#] ?)?")
# In a clause after a conjunction; "who" and "what" are ordinary relative pronouns there.
_CLAUSE = re.compile(
    r"(?:\b(?:and|or|but|because|so|that|if|when|where|while|until|unless|as|before|after|since|than)|,) "
    r"(?:nobody|whoever|somebody|whichever)\b(?!'s| else's| else to\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of prose: the file or command it is from, and whether its first line is limited."""

    room: str
    origin: str
    text: str
    is_docstring: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule: `subject` or `long line`."""

    room: str
    origin: str
    rule: str
    words: str


def room_of(path: str) -> str:
    own = next((room for room in OWN_ROOMS if path == room or path.startswith(f"{room}/")), None)
    if own is not None:
        return own
    parts = path.split("/")
    return parts[0] if len(parts) < 3 else "/".join(parts[:2])


def sentences(text: str) -> Iterator[str]:
    """Sentences of Markdown or of a docstring; code, links' targets and questions are left out."""
    text = re.sub(r"^ *```.*?^ *```$", "\n\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "CODE", text))
    # A heading, a bullet, a numbered item and a table's cell begin anew.
    text = re.sub(r"^\s*(?:#+|[-*]|\d+\.)\s+", "\n\n", text, flags=re.MULTILINE)
    for block in re.split(r"\n\s*\n|\s\|\s|^\||\|$", text, flags=re.MULTILINE):
        plain = re.sub(r"\s+", " ", block).strip()
        for sentence in re.split(r"(?<=[.!?;])[\"*)]* ", plain):
            words = sentence.strip(" *_\"'([")
            if words and not words.rstrip(" *_\"')]").endswith("?"):
                yield words


def broken_subjects(text: str) -> list[str]:
    return [words for words in sentences(text) if _SUBJECT.match(words) or _CLAUSE.search(words)]


def docstrings(source: Source) -> Iterator[Text]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                name = getattr(node, "name", "module")
                yield Text(room_of(source.path), f"{source.path}::{name}", text, is_docstring=True)


def comments(source: Source) -> Iterator[Text]:
    """Comments, without the markers of tools. Comments on lines that follow each other are one text."""
    block: list[str] = []
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type != tokenize.COMMENT:
            continue
        row = token.start[0]
        goes_on = row == last + 1 and token.line.lstrip().startswith("#")
        if block and not goes_on:
            yield Text(room_of(source.path), f"{source.path}:{last}", "\n".join(block), is_docstring=False)
            block = []
        block.append(_MARKER.sub("", token.string.lstrip("#: ")))
        last = row
    if block:
        yield Text(room_of(source.path), f"{source.path}:{last}", "\n".join(block), is_docstring=False)


def documents() -> Iterator[Text]:
    pages: list[Path] = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    for folder in ("docs", "deploy", "connectors"):
        pages += sorted((ROOT / folder).rglob("*.md"))
    for page in pages:
        path = page.relative_to(ROOT).as_posix()
        yield Text(path if "/" not in path else room_of(path), path, page.read_text(encoding="utf-8"), False)


def help_texts() -> Iterator[Text]:
    """Descriptions of the commands' options and arguments; a command's own description is a docstring."""

    def walk(command: click.Command, name: str) -> Iterator[Text]:
        for parameter in command.params:
            if text := getattr(parameter, "help", None):
                yield Text(HELP, f"{name} {parameter.name}", text, is_docstring=False)
        for child, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{name} {child}")

    yield from walk(cast("click.Command", typer.main.get_command(app)), "expunge")


@functools.cache
def every_text() -> list[Text]:
    of_code = (text for source in sources() for text in (*docstrings(source), *comments(source)))
    return [*documents(), *help_texts(), *of_code]


def findings(texts: Iterable[Text]) -> Iterator[Finding]:
    for each in texts:
        for words in broken_subjects(each.text):
            yield Finding(each.room, each.origin, "subject", words)
        first = each.text.partition("\n")[0]
        if each.is_docstring and len(first) > MOST_OF_A_FIRST_LINE:
            yield Finding(each.room, each.origin, "long line", first)


def counts(found: Iterable[Finding]) -> dict[str, tuple[int, int]]:
    """Per room with findings: sentences with such a subject, and first lines that are too long."""
    per_room = Counter((each.room, each.rule) for each in found)
    rooms = sorted({room for room, _ in per_room})
    return {room: (per_room[room, "subject"], per_room[room, "long line"]) for room in rooms}


def main() -> None:
    found = list(findings(every_text()))
    for each in found:
        print(f"{each.origin}: {each.rule}: {each.words[:160]}")
    for room, (subjects, long_lines) in counts(found).items():
        print(f'    "{room}": ({subjects}, {long_lines}),')


if __name__ == "__main__":
    main()
