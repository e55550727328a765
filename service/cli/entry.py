"""The program `expunge`: prepares standard output and loads the commands, which takes a second or two."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from service.quick_imports import quick_imports


def main() -> None:
    """Run the command line. Ctrl-C while the commands are loaded ends as quietly as later (exit code 130)."""
    for stream in (sys.stdout, sys.stderr):
        # In a locale that can't say a character, an escape is printed instead of a traceback.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with quick_imports():
            from service.cli.main import app
    except KeyboardInterrupt:
        sys.exit(130)
    app()
