"""What recording a page of changes costs, with a million entries on the suppression list.

    python -m tests.benchmarks.bench_reappear [--out bench.json]

BENCH_SCALE (default 1) scales the list. A page has 6,000 records with three identifiers each, none of them on the list,
as almost every page. The yardstick is the same page where nobody was ever erased; both are recorded in turns, hashing
included. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from connectors.base.values import ChangedRecord, ChangePage, Identifier, Record
from service.store.encryption.keyed_hash import Pepper
from service.store.encryption.secrets import load_secrets
from service.store.engine import open_engine
from service.store.migrate import migrate
from service.store.stores import Stores
from service.suppression.match_changes import record_changes
from service.suppression.scan_schedule import lease_sync
from tests.benchmarks.own_servers import own_servers
from tests.benchmarks.results import tell
from tests.integration.execution.select.rows import SYSTEM, Desk, settings_with

RECORDS = 6_000
ROUNDS = 15
_A_REQUEST = 1_000
_A_STATEMENT = 100_000


def fill(desk: Desk, entries: int) -> None:
    """Finished requests with so many entries on the list, analysed."""
    desk.add(max(1, entries // _A_REQUEST), phase="confirm", state="absent")
    for start in range(0, entries, _A_STATEMENT):
        desk.write(
            "INSERT INTO suppression_entries (keyed_hash, request_id, scope, kind, added_at)"
            " SELECT sha256(n::text::bytea), r.id, 'erased', 'email', now()"
            " FROM generate_series(CAST(:start AS bigint), CAST(:end AS bigint)) AS n"
            " JOIN (SELECT id, row_number() OVER () - 1 AS place FROM requests) AS r"
            " ON r.place = n % CAST(:requests AS bigint)",
            start=start,
            end=min(start + _A_STATEMENT, entries) - 1,
            requests=max(1, entries // _A_REQUEST),
        )
    desk.write("INSERT INTO suppression_syncs (system) VALUES (:s)", s=SYSTEM)
    desk.write("ANALYZE")


def page() -> ChangePage:
    """Records that changed, of people whom nobody erased."""
    at = datetime.now(UTC)
    seen = tuple(
        ChangedRecord(
            Record("Contact", f"003{n:012}AAA"),
            (
                Identifier("email", f"person-{n}@example.test"),
                Identifier("phone", f"+1202555{n % 10_000:04}"),
                Identifier("salesforce_contact_id", f"003{n:012}AAA"),
            ),
            at,
        )
        for n in range(RECORDS)
    )
    return ChangePage(seen, "1", more=True)


def milliseconds(stores: Stores, desk: Desk, settings: Any, changes: ChangePage) -> float:
    """One page, recorded."""
    desk.write("UPDATE suppression_syncs SET due_at = clock_timestamp(), lease_until = NULL")
    leased = lease_sync(stores, SYSTEM)
    assert leased is not None
    begin = time.perf_counter()
    assert record_changes(stores, settings, leased, changes) == []
    return (time.perf_counter() - begin) * 1000


def measure(full: tuple[Stores, Desk], empty: tuple[Stores, Desk], settings: Any) -> dict[str, Any]:
    """The two in turns; the median of each."""
    changes = page()
    times = [tuple(milliseconds(*each, settings, changes) for each in (full, empty)) for _ in range(ROUNDS)]
    value, yardstick = median(t[0] for t in times[3:]), median(t[1] for t in times[3:])
    return {
        "name": "reappear.record_ms_per_page",
        "value": round(value, 1),
        "unit": "ms",
        "yardstick": round(yardstick, 1),
        "yardstick_is": "the same page where nobody was ever erased",
        "ratio": round(value / yardstick, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    out: Path = parser.parse_args().out
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    with own_servers(durable=False) as (running, scratch):
        settings = settings_with(data_directory=str(scratch / "ours"))
        secrets = load_secrets(settings)
        pairs = []
        for url, entries in ((running.database_url, int(1_000_000 * scale)), (running.key_database_url, 0)):
            migrate(url)
            desk = Desk(open_engine(url)).open()
            fill(desk, entries)
            pairs.append((Stores.open(url, url, replace(secrets, pepper=Pepper(b"p" * 32))), desk))
        found = measure(pairs[0], pairs[1], settings)
        for stores, desk in pairs:
            stores.close()
            desk.engine.dispose()
    tell([found], out)


if __name__ == "__main__":
    main()
