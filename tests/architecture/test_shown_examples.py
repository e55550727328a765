"""What the documents show can be run, and where they lead something is."""

import ast
import csv
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from uuid import UUID

import click
import pytest
import typer

from service.api.bodies.line_readers import FIXED_COLUMNS
from service.api.schemas import SubmitBody
from service.cli.main import app
from tests.architecture.pages import (
    DEPLOY,
    DOCS,
    README,
    ROOT,
    USER_PAGES,
    quoted,
)


def blocks(language: str) -> list[tuple[str, str]]:
    """Name of the page and text of every block of this language in the pages for users."""
    return [
        (path.name, text)
        for path in USER_PAGES
        for text in re.findall(
            rf"^ *```{language}\b[^\n]*\n(.*?)^ *```$", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
        )
    ]


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Every call of `expunge` in a shell block, as its words."""
    for page, text in blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(
                re.sub(r"<[a-z ]+>", str(UUID(int=1)), line.replace("$request", "<request id>")), comments=True
            )
            if words and words[0].rpartition("/")[2] == "expunge":
                end = next((n for n, word in enumerate(words) if re.match(r"[|>&]|\d>", word)), len(words))
                yield page, words[1:end]


def test_every_shown_command_and_option_exists() -> None:
    shown = list(shown_commands())
    assert {page for page, _ in shown} >= {"README.md", "quickstart.md", "connectors.md", "evidence.md", "api.md"}
    for page, words in shown:
        command = cast("click.Command", typer.main.get_command(app))
        context = click.Context(command)
        rest = list(words)
        while children := getattr(command, "commands", None):
            assert rest, f"{page}: {words} names no command"
            assert rest[0] in children, f"{page}: {words}"
            command = children[rest.pop(0)]
            context = click.Context(command, parent=context)
        # Parses the words and raises a usage error for an unknown option or a missing one; runs nothing.
        command.parse_args(context, rest)


def test_every_shown_program_is_a_file_of_the_project() -> None:
    programs = [
        (page, name) for page, text in blocks("sh") for name in re.findall(r"\.venv/bin/python (\S+\.py)", text)
    ]
    assert ("evidence.md", "service/cli/audit/verify_audit.py") in programs
    assert [(page, name) for page, name in programs if not (ROOT / name).is_file()] == []


def test_shown_files_can_be_read() -> None:
    for page, text in blocks("json"):
        assert json.loads(text), page
    for page, text in blocks("toml"):
        assert tomllib.loads(text), page
    for page, text in blocks("csv"):
        header, *lines = csv.reader(text.splitlines())
        assert all(len(line) == len(header) for line in lines), page
        assert set(FIXED_COLUMNS) <= set(header), page


def test_the_request_of_the_quickstart_is_accepted_by_the_api() -> None:
    (text,) = [text for page, text in blocks("json") if page == "quickstart.md" and '"regime"' in text]
    assert SubmitBody.model_validate_json(text).external_reference == "case-2041"


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= 150


def documents() -> list[Path]:
    rooms = (DEPLOY, ROOT / "connectors", ROOT / "docs")
    found = [*ROOT.glob("*.md"), *(path for room in rooms for path in room.rglob("*.md"))]
    assert ROOT / "README.md" in found
    return sorted(found)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`(?!\])", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (document.parent / name).resolve() if name else document
        assert place.exists(), target
        assert place == ROOT or ROOT in place.parents, target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize(
    "document", [*USER_PAGES, *sorted((DOCS / "develop").glob("*.md"))], ids=lambda path: path.name
)
def test_every_path_that_a_page_quotes_exists(document: Path) -> None:
    for name in quoted(document.read_text(encoding="utf-8")):
        path = re.fullmatch(r"((?:service|workers|connectors|tests|deploy|docs)/[\w./-]*)(?:::\w+)?", name)
        assert path is None or (ROOT / path[1]).exists(), name


def packages() -> list[Path]:
    return [path for room in ("service", "workers", "connectors") for path in (ROOT / room).rglob("__init__.py")]


def test_every_room_says_where_to_start_and_the_file_is_there() -> None:
    starts = 0
    for path in packages():
        words = re.sub(r"\s+", " ", ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
        sentence = re.search(r"Start at (.*)$", words)
        for name in re.findall(r"`([\w/]+\.py)`", sentence[1]) if sentence else []:
            starts += 1
            assert (path.parent / name).exists(), f"{path.parent}: {name}"
    assert starts > 20
