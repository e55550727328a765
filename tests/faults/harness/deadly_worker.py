"""A worker process of its own that dies by SIGKILL, itself, whenever it is to erase one certain person.

`python -m tests.faults.harness.deadly_worker` with the configuration, both databases, the vendor's address, the
plugin's folder and that person's record id. It ends by itself when everybody else is erased.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from sqlalchemy import text

from connectors.base.interface import Answers, Lease
from connectors.base.values import Batch
from service.execution.worker_context import WorkerContext
from service.settings import Settings, load_settings, parse_settings
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores
from tests.drive import turn
from tests.faults.harness import job_vendor
from tests.faults.harness.eight_systems import installed
from tests.faults.harness.job_vendor import JobVendorConnector

_PATIENCE_SECONDS = 60.0


def settings_of(config: Path, vendor: str) -> Settings:
    """A company whose only system works by jobs."""
    entry = {
        "name": "jobs",
        "connector": job_vendor.NAME,
        "base_url": vendor,
        "allow_private_hosts": ["127.0.0.1"],
        "credentials": {"token": job_vendor.TOKEN},
        "delays": {"confirm_after": 0, "poll_every": 0.05},
    }
    return replace(load_settings(config), systems=parse_settings({"systems": [entry]}).systems)


def main(config: str, database: str, key_database: str, vendor: str, plugin: str, deadly: str) -> None:
    """Work until nobody but one person is left."""

    def erase(self: JobVendorConnector, batch: Batch, lease: Lease) -> Answers:
        if any(deadly in s.record_ids("person") for s in batch.subjects):
            lease.save(lease.resume_token or b"[]")
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, batch, lease)

    real = JobVendorConnector.erase
    JobVendorConnector.erase = erase  # type: ignore[method-assign]
    with installed(Path(plugin)):
        settings = settings_of(Path(config), vendor)
        stores = Stores.open(database, key_database, load_secrets(settings))
        runtime = WorkerContext(settings, stores)
        until = time.monotonic() + _PATIENCE_SECONDS
        left = text("SELECT count(*) FROM steps WHERE ended_at IS NULL")
        while time.monotonic() < until:
            if not turn(runtime):
                time.sleep(0.02)
            with stores.engine.begin() as connection:
                if connection.execute(left).scalar_one() <= 1:
                    return
    raise SystemExit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
