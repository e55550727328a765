"""Groups of commands with common settings; errors become a short text and an exit code.

Exit codes: 0 done, 1 refused or not in order, 2 can't be used or asked, 130 stopped with Ctrl-C, 141 the reader of the
output ended (`| head`), as the shell's own commands do. No traceback is printed for any of these.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from service.cli.client import short_errors
from service.cli.refusals import short_refusals
from service.quick_imports import quick_imports

EXIT_READER_GONE = 141
_Command = TyperCommand | TyperGroup


class _Group(TyperGroup):
    # Any: typer's own type of a context is in a private module.
    def invoke(self, ctx: Any) -> object:
        try:
            with short_refusals(), short_errors():
                try:
                    return super().invoke(ctx)
                finally:
                    sys.stdout.flush()
        except BrokenPipeError:
            # The interpreter flushes standard output once more when it ends, and would complain then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_READER_GONE) from None


@dataclass(frozen=True)
class Imported:
    """The place of a command: a group or a function of a module, imported when the command is run."""

    module: str
    attribute: str = "app"
    short_help: str | None = None
    """Its line in the list of commands, for a function whose first sentence is too long for it."""


class _Commands(MutableMapping[str, _Command]):
    def __init__(self, places: Mapping[str, Imported]) -> None:
        self._places = places
        self._found: dict[str, _Command | None] = dict.fromkeys(places)

    def __getitem__(self, name: str) -> _Command:
        command = self._found[name]
        if command is None:
            command = self._found[name] = _command(name, self._places[name])
        return command

    def __setitem__(self, name: str, command: _Command) -> None:
        self._found[name] = command

    def __delitem__(self, name: str) -> None:
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _command(name: str, place: Imported) -> _Command:
    with quick_imports():
        found = getattr(import_module(place.module), place.attribute)
    parent = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name)
    else:
        parent.command(name, short_help=place.short_help)(found)
    return cast("_Command", typer.main.get_group(parent).commands[name])


def command_group(name: str, text: str, imported: Mapping[str, Imported] | None = None) -> typer.Typer:
    """A group of commands with this help text, which is shown as it is written.

    Markup is off, because it would swallow `[[systems]]`; so are pretty tracebacks, which print local variables, and
    those may hold people. `imported` holds the group's commands by name; importing all of them takes seconds.
    """
    group = typer.Typer(
        name=name,
        help=text,
        cls=_Group if imported is None else _importing(imported),
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    if imported is not None:
        # Without a command of its own typer takes it for a group only if it has a callback.
        group.callback()(_do_nothing)
    return group


def _do_nothing() -> None:
    pass


def _importing(imported: Mapping[str, Imported]) -> type[_Group]:
    class Importing(_Group):
        # Any: the arguments of typer's constructor are passed on as they are.
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.commands = _Commands(imported)  # type: ignore[assignment]  # its base class is in no public module

    return Importing
