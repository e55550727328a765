"""A command imports only its own module, because importing all of them takes seconds."""

from __future__ import annotations

import gc
import subprocess

from service.cli.running.supervise import python
from service.quick_imports import quick_imports

_PRINT_IMPORTED = """
import sys
import typer
from service.cli.main import app

commands = typer.main.get_command(app).commands
for name in ("request", "imports", "steps", "holds"):
    assert commands[name].commands
for name in ("verify", "print", "certificate"):
    assert commands["audit"].commands[name].params
print(" ".join({name.partition(".")[0] for name in sys.modules}))
"""


def test_commands_without_stores_import_no_database_library() -> None:
    process = subprocess.run(python("-c", _PRINT_IMPORTED), capture_output=True, text=True, check=True)
    imported = set(process.stdout.split())

    assert {"httpx", "service"} <= imported
    assert not imported & {"sqlalchemy", "psycopg", "redis", "pydantic", "fpdf", "duckdb", "celery", "fastapi"}


def test_garbage_is_collected_again_after_quick_imports() -> None:
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
