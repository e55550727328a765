"""`expunge sandbox` and `sample-warehouse`: a vendor's stand-in and a warehouse, to try Expunge.

Decides how they are run by hand and what is printed: the stand-in's address, and the entry of `expunge.toml`
that connects it. All that is printed on standard output is TOML, so that it can be appended to a configuration.
"""

from __future__ import annotations

import errno
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from connectors.base.config import ConfigurationError
from connectors.base.registry import sandboxes
from connectors.testing.sandbox import ManualSetup, Sandbox, SandboxServer
from connectors.testing.sandbox.sample_warehouse import edge_columns
from connectors.testing.sandbox.sample_world import SampleWorld
from service.cli.client import Unusable, read_json
from service.cli.demo.org import org_seed
from service.cli.demo.world import SANDBOX_HOST, mailing_seed, support_seed
from service.cli.printing import note, say
from service.cli.toml_text import Tables, to_toml


def _contacts(world: SampleWorld) -> dict[str, object]:
    """Return Intercom's contacts: one per address, the first with a conversation."""
    return {
        "contacts": [
            {
                "id": f"contact-{person.number}-{n}",
                "email": address,
                "external_id": None if n else person.customer_id,
                "name": person.name,
                "phone": person.phones[0] if person.phones else None,
            }
            for person in world.people
            for n, address in enumerate(person.emails)
        ],
        "conversations": [
            {"id": f"talk-{person.number}", "contacts": [f"contact-{person.number}-0"], "body": f"{person.name} asks"}
            for person in world.people
            if person.emails
        ],
    }


def _users(world: SampleWorld) -> dict[str, object]:
    """Return Amplitude's users: one per customer id."""
    return {
        "users": [
            {"amplitude_id": 1000 + person.number, "user_id": person.customer_id, "name": person.name}
            for person in world.people
        ]
    }


# Stand-ins of other packages take their data from --seed-file: only their authors know its form.
_SAMPLE_SEEDS: Mapping[str, Callable[[SampleWorld], object]] = {
    "zendesk": lambda world: support_seed(world, "support"),
    "mailchimp": mailing_seed,
    "salesforce": org_seed,
    "intercom": _contacts,
    "amplitude": _users,
}
_SEED = 1
_LEAST_PEOPLE, _MOST_PEOPLE = 100, 100_000

People = Annotated[
    int,
    typer.Option(
        min=_LEAST_PEOPLE,
        max=_MOST_PEOPLE,
        help="people in the sample company; the same number makes the same people everywhere",
    ),
]


def sandbox(
    name: Annotated[str | None, typer.Argument(help="Which vendor's stand-in; without it, all are listed.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1; 0 takes a free one")] = 0,
    sample: Annotated[bool, typer.Option("--sample", help="fill it with the sample company's people")] = False,
    people: People = _LEAST_PEOPLE,
    seed_file: Annotated[
        Path | None, typer.Option(help="fill it with this JSON file, whose form the stand-in documents")
    ] = None,
) -> None:
    """Run a vendor's stand-in until Ctrl-C, and print the [[systems]] entry that connects it."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    kind = _kind(name)
    stand_in = kind(dict(kind.manual.options))
    world = _fill(stand_in, kind.name, sample, people, seed_file)
    token = secrets.token_hex(16)
    with _serving(stand_in, port, token) as server:
        say(_about(kind, server.url(), token, world))
        sys.stdout.flush()
        over.wait()
    note("stopped")


def _kind(name: str | None) -> type[Sandbox]:
    try:
        installed = sandboxes()
    except ConfigurationError as error:
        raise Unusable(str(error)) from None
    names = ", ".join(sorted(installed)) or "none"
    if name is None:
        raise Unusable(f"name one of the installed stand-ins: {names}")
    kind = installed.get(name)
    if kind is None:
        raise Unusable(f"no stand-in is named {name!r}; installed: {names}")
    if not issubclass(kind, Sandbox):
        raise Unusable(f"the stand-in {name!r} isn't a connectors.testing.sandbox.Sandbox")
    return kind


def _fill(stand_in: Sandbox, name: str, sample: bool, people: int, seed_file: Path | None) -> SampleWorld | None:
    if sample and seed_file is not None:
        raise Unusable("give either --sample or --seed-file")
    if seed_file is not None:
        data = read_json(seed_file)
        try:
            stand_in.seed(data)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise Unusable(f"{seed_file.name} isn't a seed of the stand-in {name!r} ({type(error).__name__})") from None
    if not sample:
        return None
    if name not in _SAMPLE_SEEDS:
        raise Unusable(f"there is no sample data for {name!r}; give --seed-file")
    world = SampleWorld(_SEED, people)
    stand_in.seed(_SAMPLE_SEEDS[name](world))
    return world


def _serving(stand_in: Sandbox, port: int, token: str) -> SandboxServer:
    try:
        return SandboxServer({"": stand_in}, control_token=token, port=port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unusable(f"port {port} is taken; give another --port, or 0 for a free one") from None
        raise Unusable(f"can't listen on port {port}: {error.strerror}") from None


def _about(kind: type[Sandbox], url: str, token: str, world: SampleWorld | None) -> str:
    lines = [
        f"# A stand-in of {kind.name} answers on {url} until Ctrl-C. Its data is in memory only.",
        f"# What it really holds: curl -H 'x-sandbox-token: {token}' {url}/__sandbox__/records",
    ]
    if world is not None:
        lines.append(_about_people(world))
    lines.append("# Its entry in expunge.toml:")
    return "\n".join([*lines, to_toml({"systems": [system_entry(kind.name, url, kind.manual)]})])


def system_entry(name: str, url: str, manual: ManualSetup) -> dict[str, object]:
    """The `[[systems]]` entry that connects a stand-in which answers on `url`."""
    return {
        "name": name,
        "connector": name,
        "base_url": f"{url}{manual.base_path}",
        "allow_private_hosts": [SANDBOX_HOST],
        **manual.entry,
    }


def _about_people(world: SampleWorld) -> str:
    return f"# {len(world.people)} sample people; one who is in every system: {world.everywhere.emails[0]}"


def sample_warehouse(
    file: Annotated[Path, typer.Argument(help="The DuckDB file to write; it must not exist yet.", show_default=False)],
    people: People = _LEAST_PEOPLE,
) -> None:
    """Write the sample company's warehouse, and print the entries of expunge.toml that connect it."""
    place = file.absolute()
    if place.exists():
        raise Unusable(f"{file} exists already; give another name")
    if not place.parent.is_dir():
        raise Unusable(f"{file.parent} isn't a directory")
    world = SampleWorld(_SEED, people)
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        world.load_warehouse(draft)
        draft.rename(place)
    except OSError as error:
        raise Unusable(f"can't write {file}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    say(f"{_about_people(world)}\n# The entries in expunge.toml:\n{to_toml(warehouse_tables(world, place))}")


def warehouse_tables(world: SampleWorld, place: Path) -> Tables:
    """Return `[identity_graph]` and the two systems of the warehouse: its tables, and the graph's rows."""
    base_url = f"duckdb:///{place}"
    policy = world.warehouse_config()
    graph = policy.pop("identity_graph")
    return {
        "identity_graph": {
            "base_url": base_url,
            "columns": edge_columns(),
            "shared_kinds": ["household_phone"],
            "one_per_person_kinds": ["customer_id"],
            "max_neighbours": 20,
        },
        "systems": [
            {"name": "warehouse", "connector": "warehouse", "base_url": base_url, "policy": policy},
            {
                "name": "identity-graph",
                "connector": "warehouse",
                "base_url": base_url,
                "order": 90,
                "policy": {"identity_graph": graph},
            },
        ],
    }
