"""The demo's company: a warehouse, two support accounts, a mailing account and an org.

Decides which person is in which system, and the configuration of the service. The people are the sample world's.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connectors.testing.sandbox.sample_warehouse import edge_columns
from connectors.testing.sandbox.sample_world import SampleWorld
from service.cli.demo.org import org_seed
from service.cli.toml_text import Tables, to_toml

SUPPORT_ACCOUNTS = ("support", "support-eu")
MAILING = "mailing"
SANDBOX_HOST = "127.0.0.1"
ORG = "crm"
SUPPORT_CREDENTIALS = {"email": "privacy@example.test", "api_token": "stand-in-token"}
MAILING_CREDENTIALS = {"api_key": "stand-in-key-us1"}
ORG_CREDENTIALS = {"consumer_key": "stand-in-consumer", "consumer_secret": "stand-in-secret"}
_JOB_SECONDS = 0.1
_CONFIRM_SECONDS = 0.3
_DELAYS = {"confirm_after": _CONFIRM_SECONDS, "poll_every": _JOB_SECONDS}


@dataclass(frozen=True)
class DemoWorld:
    """The people, and where everything of the demo lies. `control_token` opens the stand-ins' own view."""

    world: SampleWorld
    directory: Path
    control_token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def warehouse(self) -> Path:
        """The company's DuckDB file."""
        return self.directory / "warehouse.duckdb"

    @property
    def spec(self) -> Path:
        """The argument file of the stand-ins' process."""
        return self.directory / "sandboxes.json"

    @property
    def config(self) -> Path:
        """The service's configuration."""
        return self.directory / "expunge.toml"


def build(people: int, seed: int, directory: Path) -> DemoWorld:
    """Write the warehouse, the stand-ins' seeds and their spec. Everything is private to the running user."""
    demo = DemoWorld(SampleWorld(seed, people), directory)
    demo.world.load_warehouse(demo.warehouse)
    sandboxes: dict[str, object] = {}
    for account in SUPPORT_ACCOUNTS:
        seed_file = directory / f"{account}.json"
        seed_file.write_text(json.dumps(support_seed(demo.world, account)), encoding="utf-8")
        sandboxes[account] = {
            "kind": "zendesk",
            "options": SUPPORT_CREDENTIALS
            | {"job_seconds": _JOB_SECONDS, "confirm_after": _CONFIRM_SECONDS, "purge_after": _CONFIRM_SECONDS},
            "seed_file": str(seed_file),
        }
    seed_file = directory / f"{MAILING}.json"
    seed_file.write_text(json.dumps(mailing_seed(demo.world)), encoding="utf-8")
    sandboxes[MAILING] = {
        "kind": "mailchimp",
        "options": MAILING_CREDENTIALS | {"job_seconds": _JOB_SECONDS, "confirm_after": _CONFIRM_SECONDS},
        "seed_file": str(seed_file),
    }
    seed_file = directory / f"{ORG}.json"
    seed_file.write_text(json.dumps(org_seed(demo.world)), encoding="utf-8")
    sandboxes[ORG] = {
        "kind": "salesforce",
        "options": ORG_CREDENTIALS | {"confirm_after": _CONFIRM_SECONDS},
        "seed_file": str(seed_file),
    }
    demo.spec.write_text(
        json.dumps({"control_token": demo.control_token, "port": 0, "sandboxes": sandboxes}), encoding="utf-8"
    )
    return demo


def support_seed(world: SampleWorld, account: str) -> dict[str, object]:
    """Users and their tickets in one support account."""
    users, tickets = [], []
    for user_id, row in enumerate(world.zendesk_seed(account), 1001):
        users.append(
            {
                "id": user_id,
                "name": row["name"],
                "email": row["emails"][0],
                "emails": row["emails"][1:],
                "phones": row["phones"],
                "external_id": row["customer_id"],
            }
        )
        tickets += [{"subject": t["subject"], "status": t["status"], "requester_id": user_id} for t in row["tickets"]]
    return {"users": users, "tickets": tickets}


def mailing_seed(world: SampleWorld) -> dict[str, object]:
    """Audiences and their members."""
    return {
        "lists": [
            {
                "id": row["audience"],
                "name": row["audience"],
                "members": [
                    {
                        "email_address": member["email"],
                        "full_name": member["name"],
                        "status": member["status"],
                        "merge_fields": {"PHONE": member["phone"] or ""},
                    }
                    for member in row["members"]
                ],
            }
            for row in world.mailchimp_seed()
        ]
    }


def write_config(
    demo: DemoWorld,
    sandbox_port: int,
    *,
    data_directory: Path,
    api_port: int,
    accounts: Sequence[str] = SUPPORT_ACCOUNTS,
    org: bool = True,
) -> None:
    """Write `expunge.toml` for this company; the stand-ins listen on `sandbox_port`."""
    vendor = f"http://{SANDBOX_HOST}:{sandbox_port}"
    warehouse = f"duckdb:///{demo.warehouse}"
    policy = demo.world.warehouse_config()
    graph = policy.pop("identity_graph")
    systems: list[dict[str, object]] = [
        {"name": "warehouse", "connector": "warehouse", "base_url": warehouse, "policy": policy},
        *(_support_system(account, vendor) for account in accounts),
        _mailing_system(vendor),
        *([_org_system(demo, vendor)] if org else []),
        {
            "name": "identity-graph",
            "connector": "warehouse",
            "base_url": warehouse,
            "order": 90,
            "policy": {"identity_graph": graph},
        },
    ]
    tables: Tables = {
        "service": {
            "data_directory": str(data_directory),
            "listen_port": api_port,
            "workers": 3,
            "controller": "Tea and Kettles, a made-up company",
        },
        "engine": {"tick_seconds": 0.5, "max_batching_delay_seconds": 0, "data_key_retention_seconds": 86400},
        "identity_graph": {
            "base_url": warehouse,
            "table": graph["table"],
            "columns": edge_columns(),
            "shared_kinds": ["household_phone"],
            "one_per_person_kinds": ["customer_id"],
            "max_neighbours": 20,
        },
        "systems": systems,
    }
    demo.config.write_text(to_toml(tables), encoding="utf-8")


def _support_system(account: str, vendor: str) -> dict[str, object]:
    return {
        "name": account,
        "connector": "zendesk",
        "base_url": f"{vendor}/{account}",
        "allow_private_hosts": [SANDBOX_HOST],
        "credentials": SUPPORT_CREDENTIALS,
        "delays": _DELAYS | {"purge_after": _CONFIRM_SECONDS},
        "rate_limits": [],  # The stand-in has none; the account's own would make the demo last minutes.
    }


def _mailing_system(vendor: str) -> dict[str, object]:
    return {
        "name": MAILING,
        "connector": "mailchimp",
        "base_url": f"{vendor}/{MAILING}/3.0",
        "allow_private_hosts": [SANDBOX_HOST],
        "credentials": MAILING_CREDENTIALS,
        "delays": _DELAYS,
    }


def _org_system(demo: DemoWorld, vendor: str) -> dict[str, object]:
    """Return the org's entry; its cache directory lets the worker processes share token and schema."""
    return {
        "name": ORG,
        "connector": "salesforce",
        "base_url": f"{vendor}/{ORG}",
        "allow_private_hosts": [SANDBOX_HOST],
        "credentials": ORG_CREDENTIALS,
        "policy": {
            "cache_directory": str(demo.directory / "org-cache"),
            "fields": {"Contact.Customer_Number__c": "customer_id"},
        },
        "delays": _DELAYS,
    }
