"""The interface of a connector: its declaration and five operations, always for many people at once.

It promises per-person answers and nothing else: a connector knows identifiers, records and outcomes; nothing of
requests, deadlines, tables, Celery. It doesn't retry across attempts and never sleeps longer than a request's time-out.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from connectors.base.callbacks import Callback, CallbackCall
from connectors.base.config import (
    HTTP_SCHEMES,
    SYSTEM_KEYS,
    ConfigurationError,
    NoPolicy,
    SystemConfig,
    check_keys,
    parse_base_url,
    parse_count,
    parse_deadline,
    parse_delays,
    parse_model,
    parse_network,
    parse_order,
    parse_rate_limits,
    parse_timeout,
)
from connectors.base.errors import ConnectorError
from connectors.base.pacing import RateLimit as RateLimit
from connectors.base.values import Answer, Batch, ChangePage, Located, Preview, Subject, Visibility, is_identifier_kind

# The audit log takes nothing in which a telephone number could hide: at most six digits.
_GAP = re.compile(r"(?=.{1,80}$)([a-z_.:-]*[0-9]){0,6}[a-z_.:-]*", re.ASCII)

Answers = Mapping[str, Answer | ConnectorError]
"""Per person (`Subject.ref`): an answer, or the error that concerns this person only."""

Findings = Mapping[str, Located | ConnectorError]
"""Per person: what was found, or the error that concerns this person only."""


class Operation(StrEnum):
    """The operations of a connector."""

    LOCATE = "locate"
    SUPPRESS = "suppress"
    READ_SUPPRESSION = "read_suppression"
    ERASE = "erase"
    CONFIRM = "confirm"


class ErasesBy(StrEnum):
    """How `erase` addresses people.

    RECORDS: only frozen record ids are erased; a record that a fresh search finds and the plan doesn't hold comes back
    as `Answer.partial(found=...)`, untouched. IDENTIFIERS: the vendor is told identifiers and erases what it finds.
    """

    RECORDS = "records"
    IDENTIFIERS = "identifiers"


@dataclass(frozen=True, slots=True)
class Delays:
    """How long the vendor takes. Every one can be overridden per system (`[systems.delays]`, seconds).

    `confirm_after`: from the effect until a look may count, search lag included. `poll_every`: between two looks at a
    running job. `purge_after`: how long the vendor keeps what it accepted for deletion, if it says so.
    """

    confirm_after: timedelta = timedelta(0)
    poll_every: timedelta = timedelta(seconds=5)
    purge_after: timedelta = timedelta(0)


@dataclass(frozen=True)
class Declaration:
    """A connector's declaration of itself and of its vendor; its README has the source of every figure.

    `max_concurrency`: concurrent batches of one system. `max_concurrent_people`: people of one batch whose calls run at
    the same time, where the vendor takes one person per call. `verifies_visibility`: `locate` and `confirm_absence`
    themselves prove that the credential sees (before and after the look, or by a control record in the same calls) and
    raise CredentialsRefused otherwise, so the engine makes no calls of `check_credentials` for it. `sends_callbacks`:
    the vendor reports a job's progress by a signed call; `read_callback` reads it, as a hint to look sooner.
    `searches_first`: the engine searches for people before it freezes their plan. False only if a search would add
    nothing to the plan, because the vendor takes identifiers and erases the records under exactly these, and if a look
    afterwards is possible. Such a connector needs no `locate`. `reports_changes`: `changed_since` returns people's
    created and changed records, so that the engine finds erased people who re-appear; with `verifies_visibility` it
    proves visibility like `locate`. `suppression_scopes`: the scopes that `suppress` can bring into force; named
    exactly by connectors with `Operation.SUPPRESS`. `not_covered`: codes of data that no erasure through this connector
    reaches; the engine puts them on every certificate, so no answer repeats them. Raises ValueError for a declaration
    that contradicts itself.
    """

    name: str
    identifier_kinds: frozenset[str]
    operations: frozenset[Operation]
    erases_by: ErasesBy
    max_subjects_per_call: Mapping[Operation, int]
    required_scopes: tuple[str, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()
    max_concurrency: int = 4
    max_concurrent_people: int = 1
    delays: Delays = field(default_factory=Delays)
    can_confirm: bool = True
    verifies_visibility: bool = False
    sends_callbacks: bool = False
    searches_first: bool = True
    reports_changes: bool = False
    suppress_first: bool = True
    suppression_scopes: frozenset[str] = frozenset()
    order: int = 50
    not_covered: tuple[str, ...] = ()
    level: str = "draft"

    def __post_init__(self) -> None:
        for gap in self.not_covered:
            if not _GAP.fullmatch(gap):
                raise ValueError(f"{self.name}: not_covered takes codes such as `backups`: a-z, 0-9, _, at most 80")
        malformed = [kind for kind in self.identifier_kinds if not is_identifier_kind(kind)]
        if malformed:
            raise ValueError(f"{self.name}: {min(malformed)!r} is not the name of an identifier kind")
        if (Operation.SUPPRESS in self.operations) != bool(self.suppression_scopes):
            raise ValueError(f"{self.name}: a connector names suppression_scopes exactly if it offers `suppress`")
        if Operation.READ_SUPPRESSION in self.operations and not self.suppression_scopes:
            raise ValueError(f"{self.name}: without `suppress` there is no suppression to read")
        if not self.searches_first and (self.erases_by is not ErasesBy.IDENTIFIERS or not self.can_confirm):
            raise ValueError(f"{self.name}: who isn't searched first is erased by identifiers, and can be looked for")

    def batch_limit(self, operation: Operation) -> int:
        """The most people in one batch of `operation`."""
        return self.max_subjects_per_call.get(operation, 1)


class Lease(Protocol):
    """The engine's side of one batch, as the connector sees it while it works."""

    @property
    def resume_token(self) -> bytes | None:
        """The token saved last under this batch key, possibly in a process that died. None at first."""

    def save(self, resume_token: bytes) -> None:
        """Store the token durably before returning.

        Call it before the effect (job about to be opened, ids found) *and* after it (job id), so that a second start
        never forgets and never opens a second job. Raises LeaseLost.
        """

    def may_proceed(self, ref: str) -> bool:
        """Ask right before each effect on a person. False: a hold or a revocation came; answer
        `TemporarilyUnavailable("stopped")` for this person and go on with the others. Raises LeaseLost."""


class Connector(ABC):
    """One kind of system. An instance is bound to one `SystemConfig` and used by one thread at a time."""

    declaration: ClassVar[Declaration]
    Credentials: ClassVar[type[BaseModel]]
    Policy: ClassVar[type[BaseModel]] = NoPolicy
    base_url_schemes: ClassVar[frozenset[str]] = HTTP_SCHEMES
    """How a `base_url` of this kind of system may begin."""

    def __init__(self, system: SystemConfig) -> None:
        self.system = system

    @property
    def calls(self) -> int:
        """HTTP calls that this instance has made so far; 0 where the system isn't spoken to over HTTP."""
        return 0

    def close(self) -> None:  # noqa: B027 - optional for connectors without connections
        """Give back connections. The instance is not used afterwards."""

    @abstractmethod
    def check_credentials(self) -> Visibility:
        """Prove that the credential is accepted, has the scopes, and *sees*.

        The proof of sight is a control record that is found through the same endpoints that `confirm_absence` uses.
        Cheap (1-3 calls): it runs in every pass that may conclude absence.

        Raises: CredentialsRefused (`no_visibility` when everything answers 200 and nothing can be seen).
        """

    def locate(self, batch: Batch) -> Findings:
        """Search, read-only, by every identifier of a declared kind. Follows every page."""
        raise NotImplementedError(f"{self.declaration.name} declares no search")

    def preview(self, batch: Batch) -> Preview | None:
        """Return what `erase` would do to these people's frozen records, read-only.

        None: this connector can't foresee it.
        """
        return None

    @abstractmethod
    def erase(self, batch: Batch, lease: Lease) -> Answers:
        """Erase for good, or say exactly what is left. Idempotent: what is gone already is no error.

        Resumes from `lease.resume_token` *and* looks anew. The record that leads to the rest is erased last.
        """

    def suppress(self, batch: Batch, lease: Lease) -> Answers:
        """Bring each person's `wanted_scopes` into force on every record of theirs; create no record for it.

        ALREADY_ABSENT: the person has no record. ACCEPTED: it will be in force without another call, and an erasure
        begins. ACCEPTED(resumes): a vendor's job is running; `suppress` is called again with the resume token, and an
        erasure begins only after it is done.
        """
        raise NotImplementedError(f"{self.declaration.name} declares no suppression")

    def read_suppression(self, batch: Batch) -> Answers:
        """Look, read-only, whether each person's `wanted_scopes` are in force.

        SUPPRESSED: every one, on every record that was found by every identifier. NOT_SUPPRESSED: one of them isn't,
        somewhere. ALREADY_ABSENT: every look answered and found no record. ACCEPTED: the vendor says it is working.
        """
        raise NotImplementedError(f"{self.declaration.name} can't read suppressions back")

    def wanted_scopes(self, subject: Subject) -> frozenset[str]:
        """Return the scopes to bring into force for this person: those asked for that this connector offers."""
        offered = self.declaration.suppression_scopes
        return offered & frozenset(subject.scopes) if subject.scopes else offered

    @abstractmethod
    def confirm_absence(self, batch: Batch) -> Answers:
        """Look, by every identifier and every frozen record id, whether anything is left.

        ALREADY_ABSENT: every look answered and found nothing. PARTIAL: `left` (known) or `found` (new). ACCEPTED: the
        vendor says it is still purging. NOT_ADDRESSABLE: there is nothing to look by.
        """

    def changed_since(self, cursor: str | None, begin_at: datetime) -> ChangePage:
        """Return one page of people's created and changed records, in the order of their changes, read-only.

        The page begins where `cursor` of an earlier page says; without one at `begin_at`. Bounded: a few calls, some
        thousand records. A vendor may commit a change late, under an earlier instant than one that was returned
        already. A later page must return that change, so the cursor of the last page (`more` is False) steps back by
        the longest such delay, and the same record may be returned again and again. Deleted records aren't returned.
        """
        raise NotImplementedError(f"{self.declaration.name} declares no changes")

    @classmethod
    def read_callback(cls, system: SystemConfig, call: CallbackCall, now: datetime) -> Callback:
        """Check that the vendor signed this call, then return the jobs that it names. Pure: no call, no clock.

        The signature first, over `call.body` as it came, with this system's secrets (`toolkit.callbacks`). A hint,
        never an answer: what a job has come to is asked by `erase` or `confirm_absence`. Raises CallbackRefused.
        """
        raise NotImplementedError(f"{cls.declaration.name} declares no callbacks")

    @property
    def max_concurrent_people(self) -> int:
        """The declared number of people whose calls may be under way together, or the system's own."""
        own = self.system.max_concurrent_people
        return self.declaration.max_concurrent_people if own is None else own

    def delay(self, name: str) -> timedelta:
        """The declared delay, or the system's own."""
        override = self.system.delays.get(name)
        declared: timedelta = getattr(self.declaration.delays, name)
        return declared if override is None else override

    @classmethod
    def kinds_of(cls, system: SystemConfig) -> frozenset[str]:
        """Identifier kinds that this system understands. Override it where the system's policy adds some."""
        return cls.declaration.identifier_kinds

    @classmethod
    def limits(cls, system: SystemConfig) -> tuple[RateLimit, ...]:
        """The declared rate limits, or the system's own."""
        return cls.declaration.rate_limits if system.rate_limits is None else system.rate_limits

    @classmethod
    def parse_system(cls, entry: Mapping[str, Any]) -> SystemConfig:
        """Turn a `[[systems]]` table into a SystemConfig. Raises ConfigurationError naming the key."""
        name = str(entry.get("name", "?"))
        where = f"systems[{name}]"
        check_keys(entry, SYSTEM_KEYS, where)
        for key in ("name", "connector", "base_url"):
            if not isinstance(entry.get(key), str) or not entry[key]:
                raise ConfigurationError(f"{where}.{key}: a text is required")
        network = parse_network(entry, where)
        timeout_seconds = parse_timeout(entry.get("timeout_seconds"), f"{where}.timeout_seconds")
        delays = tuple(Delays.__dataclass_fields__)
        return SystemConfig(
            name=name,
            connector=entry["connector"],
            base_url=parse_base_url(entry["base_url"], cls.base_url_schemes, network, f"{where}.base_url"),
            credentials=parse_model(cls.Credentials, entry.get("credentials", {}), f"{where}.credentials"),
            policy=parse_model(cls.Policy, entry.get("policy", {}), f"{where}.policy"),
            delays=parse_delays(entry.get("delays", {}), delays, f"{where}.delays"),
            order=parse_order(entry.get("order"), f"{where}.order"),
            max_concurrency=parse_count(entry.get("max_concurrency"), f"{where}.max_concurrency"),
            max_concurrent_people=parse_count(entry.get("max_concurrent_people"), f"{where}.max_concurrent_people"),
            timeout_seconds=timeout_seconds,
            deadline_seconds=parse_deadline(
                entry.get("deadline_seconds"), timeout_seconds, f"{where}.deadline_seconds"
            ),
            network=network,
            rate_limits=parse_rate_limits(entry.get("rate_limits"), f"{where}.rate_limits"),
        )
