"""How much of a vendor's limit is used, and how much it refuses: the whole service against a stand-in that enforces it.

    python -m tests.benchmarks.bench_rate [--out bench.json]

`expunge up`'s own processes (API, three workers, beat, servers of their own) erase people from a support account that
accepts 40 calls in 5 s, once in any such window and once in windows that follow each other. It is the only system, and
everybody's work in it is due when the measured time begins: only the limit shall be in the way. The yardstick of the
share of refusals is the same without the rate gate, where only the vendor's Retry-After is obeyed. BENCH_SCALE (default
1) scales the 12 windows that are measured. Nothing is asserted here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from connectors.base.registry import sandboxes
from connectors.base.values import Identifier
from connectors.testing.sandbox import SandboxServer
from connectors.testing.sandbox.limits import EnforcedLimit
from connectors.testing.sandbox.sample_world import SampleWorld
from service.cli.demo.world import (
    SUPPORT_CREDENTIALS,
    DemoWorld,
    support_seed,
    write_config,
)
from service.cli.running.api_process import api_listeners
from service.cli.running.installation import prepare, processes, servers
from service.requests.intake.submit import Submission, SubmittedIdentifier, submit_request
from service.settings import Settings, load_settings
from service.store.stores import Stores
from tests.benchmarks.results import tell

CALLS, SECONDS = 40, 5
PEOPLE = 200
ACCOUNT = "support"


@dataclass(frozen=True)
class Run:
    """One run: shares of the limit used, and of the calls refused, within the windows measured."""

    used: float
    refused: float
    calls: int


def run(*, sliding: bool, gated: bool, windows: int) -> Run:
    """The service from its start, for so many windows after its first call to the account."""
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        world = SampleWorld(seed=7, people=PEOPLE)
        demo = DemoWorld(world, directory)
        world.load_warehouse(demo.warehouse)
        kinds = sandboxes()
        account = kinds["zendesk"](SUPPORT_CREDENTIALS | {"job_seconds": 0.05, "confirm_after": 0.1})
        account.seed(support_seed(world, ACCOUNT))
        account.enforced_limits = [EnforcedLimit(CALLS, SECONDS, sliding=sliding)]
        with SandboxServer({ACCOUNT: account}) as server:
            write_config(demo, server.port, data_directory=directory / "data", api_port=0, accounts=[ACCOUNT])
            limit = f"rate_limits = [{{ calls = {CALLS}, per_seconds = {SECONDS} }}]" if gated else "rate_limits = []"
            config = demo.config.read_text(encoding="utf-8").replace("rate_limits = []", limit)
            head, *systems = config.split("[[systems]]")
            (own,) = (entry for entry in systems if f'name = "{ACCOUNT}"' in entry)
            demo.config.write_text(f"{head}[[systems]]{own}", encoding="utf-8")
            return _measure(load_settings(demo.config), world, account.journal, windows)
    finally:
        shutil.rmtree(directory)


def _measure(settings: Settings, world: SampleWorld, journal: list[dict[str, Any]], windows: int) -> Run:
    with servers(settings) as found:
        stores = prepare(settings, found)
        _rest(stores, "clock_timestamp() + interval '1 hour'")
        _submit(stores, settings, world)
        with api_listeners(settings) as listeners, processes(settings, found, listeners):
            while _count(stores, "SELECT count(*) FROM requests WHERE next_action = 'identify'"):
                time.sleep(0.2)
            _rest(stores, "NULL")
            while not journal:
                time.sleep(0.05)
            begin = datetime.fromisoformat(journal[0]["at"])
            end = begin + timedelta(seconds=windows * SECONDS)
            while datetime.now(UTC) < end + timedelta(seconds=0.5):
                time.sleep(0.1)
            left = _count(stores, "SELECT count(*) FROM steps WHERE ended_at IS NULL")
        stores.close()
    if not left:
        raise RuntimeError("the account's work was over before the time was: nothing is known about its limit")
    calls = [(datetime.fromisoformat(call["at"]), call["status"]) for call in journal]
    calls = [(at, status) for at, status in calls if begin <= at < end]
    refused = sum(status == 429 for _, status in calls)
    return Run(_used([at for at, status in calls if status != 429]), refused / len(calls), len(calls))


def _used(accepted: list[datetime]) -> float:
    """From the first call of the second window to the first of the last: the burst that begins a run proves nothing."""
    last = (len(accepted) - 1) // CALLS
    took = (accepted[last * CALLS] - accepted[CALLS]).total_seconds()
    return (last - 1) * SECONDS / took


def _rest(stores: Stores, until: str) -> None:
    with stores.engine.begin() as connection:
        connection.execute(text(f"UPDATE systems SET cooldown_until = {until}"))


def _count(stores: Stores, statement: str) -> int:
    with stores.engine.begin() as connection:
        return int(connection.execute(text(statement)).scalar_one())


def _submit(stores: Stores, settings: Settings, world: SampleWorld) -> None:
    at = datetime.now(UTC)
    for person in world.ordinary:
        identifier = SubmittedIdentifier(Identifier("email", person.emails[0]), "email_link", at)
        submit_request(
            stores,
            settings,
            Submission(
                kind="erasure",
                regime="gdpr",
                identifiers=(identifier,),
                received_at=at,
                external_reference=None,
                submitted_by=uuid4(),
                idempotency_key=None,
            ),
        )


def results(scale: float) -> list[dict[str, Any]]:
    """The two figures, each the worse of the vendor's two ways of counting."""
    windows = max(5, round(12 * scale))
    gated = {name: run(sliding=name == "sliding", gated=True, windows=windows) for name in ("sliding", "fixed")}
    free = run(sliding=True, gated=False, windows=max(5, windows // 2))
    detail = {
        name: {"used": round(r.used, 4), "refused": round(r.refused, 4), "calls": r.calls} for name, r in gated.items()
    }
    used, refused = min(r.used for r in gated.values()), max(r.refused for r in gated.values())
    common = {"limit": f"{CALLS} calls in {SECONDS} s", "windows": windows, "workers": 3, "runs": detail}
    return [
        {
            "name": "rate.saturation",
            "value": round(used, 4),
            "unit": "share",
            "yardstick": 1.0,
            "yardstick_is": "all that the limit allows",
            "ratio": round(used, 4),
            **common,
        },
        {
            "name": "rate.share_429",
            "value": round(refused, 4),
            "unit": "share",
            "yardstick": round(free.refused, 4),
            "yardstick_is": "the same without the rate gate; Retry-After is obeyed",
            "ratio": round(refused / free.refused, 4) if free.refused else None,
            "without_gate_used": round(free.used, 4),
            **common,
        },
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    tell(results(float(os.environ.get("BENCH_SCALE", "1"))), options.out)


if __name__ == "__main__":
    main()
