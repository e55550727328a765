"""Every command explains itself, completely and as it was written."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from service.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))
LEAVES = {path: command for path, command in ALL.items() if not hasattr(command, "commands")}


def words(text: str) -> str:
    """The text without its line breaks, which may stand behind hyphens."""
    return " ".join(text.split()).replace("- ", "-")


def shown(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*arguments, "--help"], prog_name="expunge")
    assert result.exit_code == 0, result.output
    return result.output


def test_there_are_commands_to_look_at() -> None:
    assert len(LEAVES) > 30


@pytest.mark.parametrize("path", list(ALL), ids=" ".join)
def test_help_says_everything_that_was_written(path: tuple[str, ...]) -> None:
    command, text = ALL[path], words(shown(*path))
    if path in LEAVES:
        assert command.callback.__doc__
        for paragraph in inspect.cleandoc(command.callback.__doc__).split("\n\n"):
            assert words(paragraph) in text
    for parameter in command.params:
        help_text = getattr(parameter, "help", None)
        assert help_text, f"{parameter.name} isn't explained"
        assert words(help_text) in text


def test_help_shows_the_name_of_a_section_in_brackets() -> None:
    assert "one [[systems]] entry" in shown("connector", "run")


@pytest.mark.parametrize("path", [path for path in ALL if path not in LEAVES], ids=" ".join)
def test_lists_of_commands_are_not_cut(path: tuple[str, ...]) -> None:
    assert "..." not in shown(*path).partition("Commands:")[2]


def test_the_version_is_the_packages() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"expunge {version('expunge')}\n")


PRINTS_NO_DATA = {
    ("up",): "a service",
    ("workers",): "processes",
    ("demo",): "a story",
    ("sandbox",): "TOML, for a configuration",
    ("sample-warehouse",): "TOML, for a configuration",
    ("encryption", "rotate-pepper"): "says what to do next",
    ("encryption", "adopt-epochs"): "says what happens next",
    ("audit", "verify"): "the program for auditors, which has its own output",
    ("audit", "print"): "writes a file",
    ("audit", "certificate"): "writes a file",
}


@pytest.mark.parametrize("path", list(LEAVES), ids=" ".join)
def test_commands_that_print_data_print_json_too(path: tuple[str, ...]) -> None:
    options = {option for parameter in LEAVES[path].params for option in parameter.opts}
    assert ("--json" in options) == (path not in PRINTS_NO_DATA)
