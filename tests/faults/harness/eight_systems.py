"""A company with eight systems: two warehouse parts, two support accounts, two mailing accounts, a CRM, a job vendor.

Decides who is in which system and how the service is configured for it; delays are short, everything else is as in
production. The people are the sample world's.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from connectors.base import registry
from connectors.testing.sandbox import Sandbox, SandboxServer
from connectors.testing.sandbox.sample_warehouse import edge_columns, remains
from connectors.testing.sandbox.sample_world import SamplePerson, SampleWorld
from service.cli.demo.world import mailing_seed, support_seed
from service.cli.toml_text import to_toml
from service.execution.systems.sync_config import sync_systems
from service.execution.worker_context import WorkerContext
from service.settings import load_settings
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores
from tests.company import Company
from tests.faults.harness import job_vendor

SUPPORT = ("support", "support-eu")
MAILING = ("mailing", "mailing-eu")
CRM = "crm"
JOBS = "jobs"
WAREHOUSE = ("warehouse", "identity-graph")
SYSTEMS = (*WAREHOUSE, *SUPPORT, *MAILING, CRM, JOBS)

_SUPPORT_CREDENTIALS = {"email": "privacy@example.test", "api_token": "stand-in-token"}
_MAILING_CREDENTIALS = {"api_key": "stand-in-key-us1"}
_CRM_CREDENTIALS = {"consumer_key": "stand-in-key-1", "consumer_secret": "stand-in-secret-1"}
_JOB_SECONDS = 0.1
_CONFIRM_SECONDS = 0.3


def write_plugin(directory: Path) -> Path:
    """A distribution that registers the job vendor, as a third party's package would. Returns what goes on the path."""
    info = directory / "plugin" / "expunge_job_vendor-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: expunge-job-vendor\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[expunge.connectors]\n{job_vendor.NAME} = {job_vendor.__name__}:JobVendorConnector\n"
        f"[expunge.sandboxes]\n{job_vendor.NAME} = {job_vendor.__name__}:JobVendorSandbox\n"
    )
    return info.parent


@contextlib.contextmanager
def installed(plugin: Path) -> Iterator[None]:
    """The plugin is installed in this process for a while."""
    kinds = (registry.connectors, registry.sandboxes)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugin))
        for kind in kinds:
            kind.cache_clear()
        try:
            yield
        finally:
            for kind in kinds:
                kind.cache_clear()


@contextlib.contextmanager
def eight_systems(
    directory: Path, urls: Mapping[str, str] | None, people: int, *, api_port: int = 0, **more: Any
) -> Iterator[Company]:
    """The company, its stand-ins answering. With `urls` its stores are open; `more` adds to `[engine]`, its
    `approval` is that section, its `timeout_seconds` and `rate_limits` are every vendor's.

    Without urls (the service brings its own servers) there are no stores: the caller opens them.
    """
    world = SampleWorld(seed=11, people=people)
    warehouse = directory / "warehouse.duckdb"
    world.load_warehouse(warehouse)
    stand_ins = _stand_ins(world)
    with SandboxServer(stand_ins) as server:
        stand_ins[CRM].options["instance_url"] = server.url(CRM)
        config = directory / "expunge.toml"
        config.write_text(to_toml(_configuration(world, directory, warehouse, server.port, api_port, more)))
        settings = load_settings(config)
        if urls is None:
            yield Company(world, settings, None, None, stand_ins, warehouse)  # type: ignore[arg-type]
            return
        stores = Stores.open(urls["database_url"], urls["key_database_url"], load_secrets(settings))
        sync_systems(stores, settings)
        runtime = WorkerContext(settings, stores)
        yield Company(world, settings, stores, runtime, stand_ins, warehouse)
        runtime.close()


def _stand_ins(world: SampleWorld) -> dict[str, Sandbox]:
    kinds: Any = registry.sandboxes()
    quick = {"job_seconds": _JOB_SECONDS, "confirm_after": 0.1, "purge_after": 0.1}
    found: dict[str, Sandbox] = {}
    for name in SUPPORT:
        found[name] = kinds["zendesk"](_SUPPORT_CREDENTIALS | quick)
        found[name].seed(support_seed(world, name))
    for name, seed in zip(MAILING, (world, SampleWorld(world.seed, len(world.people))), strict=True):
        found[name] = kinds["mailchimp"](_MAILING_CREDENTIALS | quick)
        found[name].seed(mailing_seed(seed))
    found[CRM] = kinds["salesforce"](_CRM_CREDENTIALS | quick)
    found[CRM].seed({"records": [{"object": "Account", "ref": "shop", "fields": {"Name": "Shop"}}]})
    found[CRM].seed({"records": [record for person in _some(world, CRM) for record in _contact(person)]})
    found[JOBS] = kinds[job_vendor.NAME]({"job_seconds": _JOB_SECONDS})
    found[JOBS].seed(
        {"people": [{"id": f"p-{p.ref}", "email": p.emails[0], "name": p.name} for p in _some(world, JOBS)]}
    )
    for stand_in in found.values():
        stand_in.latency_seconds = 0.01
    return found


def _some(world: SampleWorld, system: str) -> list[SamplePerson]:
    chosen = random.Random(f"{world.seed}:{system}")
    return [person for person in world.people if chosen.random() < 0.6]


def _contact(person: SamplePerson) -> list[dict[str, Any]]:
    fields = {"FirstName": person.given, "LastName": person.family, "AccountId": "@shop", "Email": person.emails[0]}
    fields |= {"Phone": person.phones[0]} if person.phones else {}
    case = {"ContactId": f"@{person.ref}", "Subject": f"Question of {person.given}", "Status": "New"}
    return [{"object": "Contact", "ref": person.ref, "fields": fields}, {"object": "Case", "fields": case}]


def _configuration(
    world: SampleWorld, directory: Path, warehouse: Path, port: int, api_port: int, more: Mapping[str, Any]
) -> dict[str, Any]:
    engine = dict(more)
    approval, timeout = engine.pop("approval", {}), engine.pop("timeout_seconds", 20.0)
    # The stand-ins have no limits; the accounts' own would make a run last an hour.
    limits = engine.pop("rate_limits", [])
    vendor, file = f"http://127.0.0.1:{port}", f"duckdb:///{warehouse}"
    policy = world.warehouse_config()
    graph = policy.pop("identity_graph")
    delays = {"confirm_after": _CONFIRM_SECONDS, "poll_every": _JOB_SECONDS}
    purging = delays | {"purge_after": _CONFIRM_SECONDS}
    entries: list[tuple[str, str, str, dict[str, Any]]] = [
        ("warehouse", "warehouse", file, {"policy": policy}),
        *((n, "zendesk", f"{vendor}/{n}", _vendor(_SUPPORT_CREDENTIALS, purging)) for n in SUPPORT),
        *((n, "mailchimp", f"{vendor}/{n}/3.0", _vendor(_MAILING_CREDENTIALS, delays)) for n in MAILING),
        (CRM, "salesforce", f"{vendor}/{CRM}", _vendor(_CRM_CREDENTIALS, purging)),
        (JOBS, job_vendor.NAME, f"{vendor}/{JOBS}", _vendor({"token": job_vendor.TOKEN}, delays)),
        ("identity-graph", "warehouse", file, {"order": 90, "policy": {"identity_graph": graph}}),
    ]
    for _, _, _, own in entries[1:-1]:
        own["timeout_seconds"] = timeout
        own["rate_limits"] = limits
    cache = directory / "crm-cache"
    cache.mkdir(mode=0o700)
    entries[-3][3]["policy"] = {"cache_directory": str(cache)}
    return {
        "service": {
            "data_directory": str(directory / "data"),
            "listen_port": api_port,
            "workers": 2,
            "controller": "Tea and Kettles, a made-up company",
        },
        "engine": {
            "tick_seconds": 0.2,
            "max_batching_delay_seconds": 0.2,
            "lease_seconds": 3.0,
            "batch_size": 20,
            "data_key_retention_seconds": 86400,
        }
        | engine,
        "approval": approval,
        "identity_graph": {
            "base_url": file,
            "table": graph["table"],
            "columns": edge_columns(),
            "shared_kinds": ["household_phone"],
            "one_per_person_kinds": ["customer_id"],
            "max_neighbours": 20,
        },
        "systems": [
            {"name": n, "connector": c, "base_url": url, "allow_private_hosts": ["127.0.0.1"], **own}
            for n, c, url, own in entries
        ],
    }


def _vendor(credentials: Mapping[str, Any], delays: Mapping[str, Any]) -> dict[str, Any]:
    return {"credentials": dict(credentials), "delays": dict(delays)}


def held_by(company: Company, people: Sequence[SamplePerson]) -> dict[str, set[str]]:
    """The ground truth: per system the refs of those of whom it holds something. The warehouse holds everybody."""
    found: dict[str, set[str]] = {name: {p.ref for p in people} for name in WAREHOUSE}
    for name, stand_in in company.sandboxes.items():
        text = json.dumps(stand_in.records(), ensure_ascii=False).casefold()
        found[name] = {p.ref for p in people if any(v.casefold() in text for v in p.residue_values)}
    return found


def residue(company: Company, people: Sequence[SamplePerson]) -> list[str]:
    """What any system still holds of these people, by system and object."""
    values = {v for p in people for v in p.residue_values}
    left = [f"{name}: {row['object']}" for name, s in company.sandboxes.items() for row in s.residue(values)]
    return left + [f"warehouse: {count} in {table}" for table, count in remains(company.warehouse, values).items()]
