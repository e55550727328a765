"""The engine's turning wheel without Celery: what the tasks do, in one process, in a loop."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import text

from service.execution.expire_leases import sweep_leases
from service.execution.lease import lease_steps
from service.execution.resolve_identities import walk
from service.execution.run_batch import execute_batch
from service.execution.worker_context import WorkerContext
from service.requests.identity.resolve import lease_identities
from service.requests.imports.control import revoke_cancelled
from service.requests.imports.paused import HALTED_IMPORTS
from service.requests.planning.advance import advance_requests
from service.requests.seal import seal_due_requests


def turn(runtime: WorkerContext, *, only: Callable[[str], bool] | None = None) -> int:
    """One round of everything that is due, in the systems that `only` allows. Returns how much was done."""
    done = 0
    stores, settings = runtime.stores, runtime.settings
    leased = lease_identities(stores, settings, limit=100)
    if leased:
        walk(runtime, leased)
        done += len(leased)
    done += advance_requests(stores, settings)
    for system in settings.systems:
        if only is not None and not only(system.config.name):
            continue
        batch = lease_steps(stores, settings, system.config.name)
        if batch is not None:
            execute_batch(runtime, batch)
            done += 1
    done += advance_requests(stores, settings)
    done += sweep_leases(stores) + revoke_cancelled(stores)
    return done + seal_due_requests(stores)


def drive(runtime: WorkerContext, *, patience_seconds: float = 3.0, limit_seconds: float = 150.0) -> None:
    """Turn until nothing was done and nothing will be due within `patience_seconds`, paused imports aside."""
    until = time.monotonic() + limit_seconds
    while time.monotonic() < until:
        if turn(runtime):
            continue
        with runtime.stores.engine.begin() as connection:
            soon = connection.execute(
                text(
                    "SELECT min(extract(epoch FROM due_at - clock_timestamp())) FROM ("
                    " SELECT due_at FROM steps WHERE state IN ('due', 'accepted')"
                    f" AND fair_queue NOT IN ({HALTED_IMPORTS})"
                    " UNION ALL SELECT due_at FROM requests WHERE next_action IS NOT NULL"
                    f" AND (next_action <> 'identify' OR fair_queue NOT IN ({HALTED_IMPORTS}))) AS d"
                )
            ).scalar_one()
        if soon is None or soon > patience_seconds:
            return
        time.sleep(max(float(soon), 0.01))
    raise AssertionError("the engine did not come to rest")
