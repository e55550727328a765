"""Groups of commands: every group has the same settings, and errors become short text and an exit code here.

Exit codes: 0 done, 1 refused or not in order, 2 can't be used or asked, 130 stopped with Ctrl-C, 141 the reader of the
output ended (`| head`), as the shell's own commands do. No traceback is printed for any of these.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from service.cli.client import short_errors
from service.cli.direct import short_refusals

EXIT_READER_GONE = 141


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
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


def command_group(name: str, text: str) -> typer.Typer:
    """A group of commands with this help text, which is shown as it is written.

    Markup is off, because it would swallow `[[systems]]`; so are pretty tracebacks, which print local variables, and
    those may hold people.
    """
    return typer.Typer(
        name=name,
        help=text,
        cls=_Group,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
