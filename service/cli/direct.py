"""Commands that work on the stores themselves, without the API: opening and closing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from service.cli.refusals import short_refusals
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
