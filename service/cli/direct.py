"""Commands that work on the stores themselves, without the API: opening and closing them, and short errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from connectors.base.config import ConfigurationError
from service.cli.client import EXIT_REFUSED, EXIT_UNUSABLE
from service.cli.printing import note
from service.domain.errors import Refusal
from service.settings import Settings, load_settings
from service.store.bootstrap import open_stores
from service.store.stores import Stores

Config = Annotated[Path, typer.Option("--config", help="The configuration file.")]
DEFAULT_CONFIG = Path("expunge.toml")


@contextmanager
def opened(config: Path) -> Iterator[tuple[Settings, Stores]]:
    """Settings and stores of this installation. Errors become short text and an exit code."""
    with short_refusals():
        settings = load_settings(config)
        stores = open_stores(settings, pool_size=1)
        try:
            yield settings, stores
        finally:
            stores.close()


@contextmanager
def short_refusals() -> Iterator[None]:
    """Refusals end with 1, what can't be used with 2. A driver's text is never shown: it may carry parameters."""
    try:
        yield
    except Refusal as refusal:
        note(f"{refusal.code}: {refusal.reason}")
        raise typer.Exit(EXIT_REFUSED) from None
    except ConfigurationError as error:
        note(f"{error}")
        raise typer.Exit(EXIT_UNUSABLE) from None
    except SQLAlchemyError as error:
        note(f"the database can't be used ({type(error).__name__}): is the service up and migrated?")
        raise typer.Exit(EXIT_UNUSABLE) from None
