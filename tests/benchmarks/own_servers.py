"""Embedded servers for one benchmark, in a directory of its own that goes with them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.embedded import EmbeddedServers, Running


@contextmanager
def own_servers(*, durable: bool = True) -> Iterator[tuple[Running, Path]]:
    """The running servers, and a directory for whatever else the benchmark writes."""
    scratch = Path(tempfile.mkdtemp(prefix="expunge-"))
    scratch.chmod(0o711)
    try:
        with EmbeddedServers(scratch / "data", durable=durable, outside=scratch / "outside") as running:
            yield running, scratch
    finally:
        shutil.rmtree(scratch)
