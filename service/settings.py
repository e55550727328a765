"""All settings, typed, read once at start from `expunge.toml` and passed down.

Decides names, units, defaults. Unknown keys are errors with a suggestion. A value may be `env:NAME` or `file:PATH`.
Does not open anything.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from pydantic import Field, field_validator

from connectors.base.config import (
    ConfigurationError,
    IdentifierKind,
    SystemConfig,
    SystemModel,
    check_keys,
    parse_model,
)
from connectors.base.registry import connector_class
from service.configuration.audit import AuditSettings
from service.configuration.connections import ConnectionSettings
from service.configuration.file import read_configuration
from service.configuration.keys import KeySettings
from service.configuration.server import BrokerSettings, DatabaseSettings


class ServiceSettings(SystemModel):
    """`[service]`: the processes of this installation."""

    data_directory: Path = Field(Path("expunge-data"), description="embedded servers' data, keys and run files")
    listen_host: str = Field("127.0.0.1", description="address that the API listens on")
    listen_port: int = Field(8080, ge=0, le=65535, description="port that the API listens on; 0 takes a free one")
    probe_port: int | None = Field(
        None, ge=0, le=65535, description="port of a listener for `/healthz` and `/readyz` only; none if absent"
    )
    workers: int = Field(4, ge=1, le=256, description="worker processes that speak to systems")
    dedicated_workers: dict[str, int] = Field(
        default_factory=dict, description="kinds of connectors with workers of their own, and how many each"
    )
    controller: str = Field("the controller", max_length=200, description="the company's name on certificates")
    timezone: str = Field("UTC", description="time zone in which a legal day ends")
    identifier_kinds: frozenset[IdentifierKind] = Field(
        frozenset(), description="kinds beside the built-in ones and those that systems and the identity graph name"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")

    @field_validator("dedicated_workers")
    @classmethod
    def _some_workers(cls, value: dict[str, int]) -> dict[str, int]:
        if any(not 1 <= count <= 256 for count in value.values()):
            raise ValueError("a kind has 1 to 256 workers of its own")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("not a known time zone") from None
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which a legal day ends."""
        return ZoneInfo(self.timezone)


class IdentityGraphSettings(SystemModel):
    """`[identity_graph]`: the warehouse's edge list and how it is walked."""

    source: str = Field("warehouse", description="entry point of the group expunge.identity_sources")
    base_url: str = Field(description="`duckdb:///file` or `postgresql://host/db`")
    credentials: dict[str, object] = Field(default_factory=dict, description="user and password, where needed")
    table: str = Field("identity_edges", description="the edge list, may be schema-qualified")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="names of left_kind, left_value, right_kind, right_value; optional: source, confidence,"
        " first_seen, last_seen",
    )
    shared_kinds: frozenset[IdentifierKind] = Field(frozenset(), description="kinds never walked through nor used")
    one_per_person_kinds: frozenset[IdentifierKind] = Field(
        frozenset(), description="two values of one such kind need a review"
    )
    max_neighbours: int = Field(50, ge=1, description="more neighbours make a supernode")
    max_cluster: int = Field(100, ge=1, description="more identifiers need a review")
    max_rounds: int = Field(12, ge=1, description="rounds of the walk")
    min_confidence: float = Field(0.0, ge=0, le=1, description="weaker edges aren't walked and need a review")
    lock_wait_seconds: float | None = Field(None, ge=0, le=120, description="how long a locked DuckDB file is awaited")
    statement_timeout_seconds: float | None = Field(None, gt=0, le=3600, description="longest question to PostgreSQL")
    default_region: str | None = Field(None, description="region of phone numbers without +, such as `US`")

    @field_validator("default_region")
    @classmethod
    def _known_region(cls, value: str | None) -> str | None:
        if value is not None and value not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError("not a known region; two capital letters such as US")
        return value


class EngineSettings(SystemModel):
    """`[engine]`: leases, timeouts and retention. Durations are seconds."""

    tick_seconds: float = Field(1.0, gt=0, description="how often due work is looked for")
    lease_seconds: float = Field(30.0, gt=0, description="a lease's length by the database's clock")
    hold_delay_seconds: float = Field(30.0, ge=0, description="from a hold's commit until no effect can start any more")
    locate_timeout_seconds: float = Field(900.0, ge=0, description="how long a plan waits for a system's search")
    order_timeout_seconds: float = Field(3600.0, ge=0, description="how long a step waits for an earlier system")
    data_key_retention_seconds: float = Field(7 * 86400.0, ge=0, description="from the last step's end to sealing")
    idempotency_key_retention_seconds: float = Field(
        86400.0, gt=0, description="how long an Idempotency-Key is remembered"
    )
    max_plan_rounds: int = Field(3, ge=1, description="plan versions that later finds may add")
    batch_size: int = Field(500, ge=1, description="upper bound of people in a batch, under the connector's own")
    max_batching_delay_seconds: float = Field(
        2.0, ge=0, le=60, description="longest wait of due steps for a fuller batch"
    )
    urgent_seconds: float = Field(
        2 * 86400.0, ge=0, description="with less time left, no step waits for a fuller batch"
    )
    circuit_breaker_threshold: int = Field(
        5, ge=1, description="consecutive batches without any answer until a system counts as down"
    )
    circuit_breaker_pause_seconds: float = Field(
        5.0, gt=0, description="from then until one person's work probes it; doubles up to 15 minutes"
    )
    min_callback_interval_seconds: float = Field(
        30.0, ge=0, description="between two looks at one person's job that callbacks ask for"
    )
    checkpoint_seconds: float = Field(60.0, gt=0, description="longest time between two signed checkpoints")


class RetentionSettings(SystemModel):
    """`[retention]`: how long is kept what the audit log has told of already."""

    attempts_days: int = Field(90, ge=0, le=36500, description="attempts of a request, from its sealing")


class ApprovalSettings(SystemModel):
    """`[approval]`: the blast radius from which a second person must approve the plan."""

    always: bool = Field(False, description="every plan needs approval")
    max_identifiers: int = Field(25, ge=1, description="more identifiers need approval")
    max_records_per_system: int = Field(1000, ge=1, description="more records in one system need approval")
    max_records: int = Field(5000, ge=1, description="more records in all need approval")


class SuppressionSettings(SystemModel):
    """`[suppression]`: the list's scheduled sync, which finds erased people who re-appear in a system."""

    reappearance: Literal["approve", "erase", "report"] = Field(
        "approve", description="what is done about them; domain.suppression.reappearance says what each means"
    )
    sync_interval_seconds: float = Field(
        900.0, ge=0, description="from one look at a system's changes to the next; 0: none"
    )


@dataclass(frozen=True)
class ConfiguredSystem:
    """One `[[systems]]` entry: what its connector needs, and what the engine decides about it."""

    config: SystemConfig
    accept_not_addressable: bool
    fingerprint: str


@dataclass(frozen=True)
class Settings:
    """Everything that was configured. `origin` is the file, for processes that must read it again."""

    service: ServiceSettings
    connections: ConnectionSettings
    database: DatabaseSettings
    broker: BrokerSettings
    keys: KeySettings
    engine: EngineSettings
    retention: RetentionSettings
    approval: ApprovalSettings
    suppression: SuppressionSettings
    audit: AuditSettings
    identity_graph: IdentityGraphSettings | None
    systems: tuple[ConfiguredSystem, ...]
    origin: Path | None = field(default=None)

    def system(self, name: str) -> ConfiguredSystem:
        """The system of that name. Raises KeyError: the caller names systems from rows, which may be older."""
        for system in self.systems:
            if system.config.name == name:
                return system
        raise KeyError(name)

    @cached_property
    def identifier_kinds(self) -> frozenset[str]:
        """Every identifier kind that may be submitted, held or looked up; all others are refused."""
        graph = self.identity_graph
        named = frozenset() if graph is None else graph.shared_kinds | graph.one_per_person_kinds
        of_systems = [connector_class(each.config.connector).kinds_of(each.config) for each in self.systems]
        return BUILT_IN_KINDS.union(self.service.identifier_kinds, named, *of_systems)

    def seconds(self, name: str) -> timedelta:
        """A duration of `[engine]` by its name without the unit."""
        return timedelta(seconds=getattr(self.engine, f"{name}_seconds"))


_Section = TypeVar("_Section", bound=SystemModel)
_SECTIONS: dict[str, type[SystemModel]] = {
    "service": ServiceSettings,
    "connections": ConnectionSettings,
    "database": DatabaseSettings,
    "broker": BrokerSettings,
    "keys": KeySettings,
    "engine": EngineSettings,
    "retention": RetentionSettings,
    "approval": ApprovalSettings,
    "suppression": SuppressionSettings,
    "audit": AuditSettings,
}
CONTROL_QUEUE = "expunge.control"
AUDIT_QUEUE = "expunge.audit"
SYSTEMS_QUEUE = "expunge.systems"
# Ours is believed for a shorter time than the database grants it: the two clocks' speeds may differ.
BELIEVED_SHARE_OF_A_LEASE = 0.8
SYSTEM_EXTRAS = ("when_not_addressable",)
BUILT_IN_KINDS = frozenset({"email", "phone", "customer_id", "anonymous_id"})
# Names stand in the audit log, where nothing may look like a telephone number.
_NAME = re.compile(r"[a-z](?!(?:.*[0-9]){7})[a-z0-9_-]{0,39}")


def queue_of_kind(connector: str) -> str:
    """The queue of a kind of connector that has workers of its own."""
    return f"{SYSTEMS_QUEUE}.{connector}"


def load_settings(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises ConfigurationError that names the file, the key and the reason.
    """
    table = read_configuration(path)
    try:
        return parse_settings(table, origin=path)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path.name}: {error}") from None


def parse_settings(table: Mapping[str, object], *, origin: Path | None = None) -> Settings:
    """Check a configuration that was read already. Relative paths are taken from the file's directory."""
    check_keys(table, (*_SECTIONS, "identity_graph", "systems"), "configuration")
    graph = table.get("identity_graph")
    settings = Settings(
        service=_section(table, ServiceSettings),
        connections=_section(table, ConnectionSettings),
        database=_section(table, DatabaseSettings),
        broker=_section(table, BrokerSettings),
        keys=_section(table, KeySettings),
        engine=_section(table, EngineSettings),
        retention=_section(table, RetentionSettings),
        approval=_section(table, ApprovalSettings),
        suppression=_section(table, SuppressionSettings),
        audit=_section(table, AuditSettings),
        identity_graph=None if graph is None else parse_model(IdentityGraphSettings, graph, "identity_graph"),
        systems=_systems(table),
        origin=origin,
    )
    _check_hold_delay(settings.engine)
    service = settings.service
    for kind in service.dedicated_workers:
        if kind not in {system.config.connector for system in settings.systems}:
            raise ConfigurationError(f"service.dedicated_workers: no system has the connector {kind!r}")
    if origin is None or service.data_directory.is_absolute():
        return settings
    directory = origin.resolve().parent / service.data_directory
    return replace(settings, service=service.model_copy(update={"data_directory": directory}))


def _section(table: Mapping[str, object], model: type[_Section]) -> _Section:
    name = next(name for name, of in _SECTIONS.items() if of is model)
    return parse_model(model, _table(table, name), name)


def _systems(table: Mapping[str, object]) -> tuple[ConfiguredSystem, ...]:
    entries = table.get("systems", [])
    if not isinstance(entries, list):
        raise ConfigurationError("systems: write each system as [[systems]]")
    systems = tuple(_system(entry, number) for number, entry in enumerate(entries, start=1))
    names = [s.config.name for s in systems]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"systems[{name}]: the name is used twice")
    return systems


def _check_hold_delay(engine: EngineSettings) -> None:
    """Raise ConfigurationError if a hold could be unseen for longer than the promised delay.

    A worker believes in a lease for 0.8 of its length, and doesn't see a new hold in that time.
    """
    if engine.lease_seconds * BELIEVED_SHARE_OF_A_LEASE > engine.hold_delay_seconds:
        raise ConfigurationError("engine.lease_seconds: at most hold_delay_seconds / 0.8, or holds come too late")


def _table(table: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise ConfigurationError(f"{name}: a table is required")
    return value


def _system(entry: object, number: int) -> ConfiguredSystem:
    if not isinstance(entry, dict) or not isinstance(entry.get("connector"), str):
        name = entry.get("name", number) if isinstance(entry, dict) else number
        raise ConfigurationError(f"systems[{name}].connector: every entry needs name, connector and base_url")
    entry = dict(entry)
    answer = entry.pop("when_not_addressable", "review")
    if answer not in ("review", "accept"):
        raise ConfigurationError(f"systems[{entry.get('name', '?')}].when_not_addressable: 'review' or 'accept'")
    if not _NAME.fullmatch(str(entry.get("name", ""))):
        raise ConfigurationError(
            f"systems[{number}].name: a name has 1 to 40 of a-z, 0-9, _ and -, and starts with a letter"
        )
    try:
        kind = connector_class(entry["connector"])
    except ConfigurationError as error:
        raise ConfigurationError(f"systems[{entry['name']}].connector: {error}") from None
    config = kind.parse_system(entry)
    # An auditor sees every change of an entry but that of its secrets.
    visible = {k: v for k, v in entry.items() if k != "credentials"}
    digest = hashlib.sha256(json.dumps(visible, sort_keys=True, default=str).encode()).hexdigest()
    return ConfiguredSystem(config, answer == "accept", digest)
