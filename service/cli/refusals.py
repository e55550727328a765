"""Short text and an exit code for what a command may not do or can't use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from service.cli.client import EXIT_REFUSED, EXIT_UNUSABLE
from service.cli.printing import note
from service.domain.errors import Refusal


@contextmanager
def short_refusals() -> Iterator[None]:
    """End the command with 1 for a refusal and 2 for an unusable input or store.

    A driver's text is never shown, because it may contain parameters.
    """
    try:
        yield
    except Refusal as refusal:
        note(f"{refusal.code}: {refusal.reason}")
        raise typer.Exit(EXIT_REFUSED) from None
    except Exception as error:
        text = _unusable(error)
        if text is None:
            raise
        note(text)
        raise typer.Exit(EXIT_UNUSABLE) from None


def _unusable(error: Exception) -> str | None:
    if _is_a("connectors.base.config", "ConfigurationError", error):
        return f"{error}"
    if _is_a("sqlalchemy.exc", "SQLAlchemyError", error):
        return f"the database can't be used ({type(error).__name__}): is the service up and migrated?"
    return None


def _is_a(module: str, name: str, error: Exception) -> bool:
    """Compare without an import, which would delay every command by half a second.

    A module that isn't imported can't have raised the error.
    """
    imported = sys.modules.get(module)
    return imported is not None and isinstance(error, getattr(imported, name))
