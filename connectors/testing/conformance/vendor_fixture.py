"""A vendor under the conformance suite: how its stand-in is run, filled and read, and what it lacks.

Decides the form of a fixture. The cases never speak of a vendor; a fixture never decides what is right.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from connectors.base.callbacks import CallbackCall
from connectors.base.interface import Connector
from connectors.base.registry import connector_class, named, sandboxes
from connectors.testing.conformance.people import TestPerson
from connectors.testing.sandbox.harness import Sandbox
from connectors.testing.sandbox.server import SandboxServer


class Need(StrEnum):
    """Parts of a system that some cases need.

    A fixture that lacks one says why, and the skip is reported with that reason.

    HTTP: spoken to over HTTP. RELATED: records hang on a person's root record. PAGES: answers come in pages. JOBS: the
    vendor accepts and works later. BLIND: a credential may be accepted and still see nothing.
    """

    HTTP = "http"
    RELATED = "related"
    PAGES = "pages"
    JOBS = "jobs"
    BLIND = "blind"


class RunningVendor(Protocol):
    """One running system under test."""

    @property
    def sandbox(self) -> Sandbox | None:
        """The stand-in, for faults and the journal; None where the system isn't spoken to over HTTP."""

    def entry(self) -> dict[str, Any]:
        """A `[[systems]]` table with a good credential and short delays."""

    def reset(self, options: Mapping[str, Any] | None = None) -> None:
        """Make the account empty of people.

        It has the control record that a look needs to prove its visibility.
        """

    def seed(self, people: Sequence[TestPerson]) -> None:
        """Add these people to what is there; everybody else's records stay as they are."""

    def rows(self) -> list[dict[str, Any]]:
        """The ground truth: every stored record as `{"object": ..., "id": ..., ...}`, recycle bins included."""


class VendorFixture(ABC):
    """One connector's part in the suite. Without a vendor's oddities four members are enough."""

    name: ClassVar[str]
    kind: ClassVar[str] = "email"
    lacks: ClassVar[Mapping[Need, str]] = {}
    related_over_pages: ClassVar[int] = 5
    roots_over_pages: ClassVar[int] = 0
    """Root records with one identifier that fill more pages than a plan has rounds (`MAX_ROUNDS`, 3), so five pages.

    `people` then gives a person `TestPerson.roots` root records. 0: one identifier has one root record."""
    wait: ClassVar[timedelta] = timedelta(seconds=4)

    def connector(self) -> type[Connector]:
        """The connector under test: the installed one of that name."""
        return connector_class(self.name)

    @abstractmethod
    def open(self) -> AbstractContextManager[RunningVendor]:
        """Run the system for one class of cases."""

    def traces(self, person: TestPerson) -> frozenset[str]:
        """The forms in which a call may name this person: the identifier and, say, its hash."""
        return frozenset({person.identifier.value})

    def wrong_credentials(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The same entry with a credential that the vendor refuses."""
        return {**entry, "credentials": {name: f"refused-{name}-0" for name in entry["credentials"]}}

    def error_body(self, status: int) -> Any:
        """The body that the vendor sends with an error."""
        return {"error": "refused", "status": status}

    def slow_options(self) -> dict[str, Any]:
        """Options under which the vendor's jobs take a moment. Needed unless JOBS is lacking."""
        return {}

    def is_contacted(self, row: Mapping[str, Any]) -> bool:
        """True if the vendor would contact the person through this row of the ground truth.

        Needed where the connector declares `Operation.SUPPRESS`.
        """
        raise NotImplementedError(f"the fixture of {self.name} doesn't say which records the vendor contacts")

    def callback(self, job: str, body_padding: str, at: datetime, *, secret: str) -> CallbackCall:
        """Return the call by which the vendor reports a job, signed at `at` with `secret`.

        `body_padding` is white space to put where its JSON allows any. Needed where the connector declares
        `sends_callbacks`.
        """
        raise NotImplementedError(f"the fixture of {self.name} makes no callbacks")

    def with_callback_secrets(self, entry: dict[str, Any], secrets: Sequence[str]) -> dict[str, Any]:
        """The same entry with these secrets of callbacks."""
        return {**entry, "credentials": {**entry["credentials"], "callback_secrets": list(secrets)}}

    def crowd(self, person: TestPerson) -> Sequence[TestPerson]:
        """Other people, as many and such that `person` stands on the last page of some search or list."""
        return ()


class HttpVendorFixture(VendorFixture):
    """A fixture over the vendor's stand-in of the entry-point group `expunge.sandboxes`."""

    options: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def system(self, base_url: str) -> dict[str, Any]:
        """The `[[systems]]` table with a good credential."""

    @abstractmethod
    def account(self) -> Any:
        """Return the stand-in's seed before any person, in its own form."""

    @abstractmethod
    def people(self, people: Sequence[TestPerson]) -> Any:
        """Return the stand-in's seed for these people, in its form; each record holds the person's name."""

    def sandbox_class(self) -> type[Sandbox]:
        """The stand-in: the installed one of that name."""
        found = named(sandboxes(), self.name, "sandbox")
        if not issubclass(found, Sandbox):
            raise TypeError(f"the sandbox of {self.name} is no Sandbox")
        return found

    @contextmanager
    def open(self) -> Iterator[RunningVendor]:
        """Serve the stand-in over real HTTP."""
        sandbox = self.sandbox_class()(copy.deepcopy(dict(self.options)))
        with SandboxServer({"": sandbox}) as server:
            yield _RunningHttpVendor(self, sandbox, server.url())


class _RunningHttpVendor:
    def __init__(self, vendor: HttpVendorFixture, sandbox: Sandbox, base_url: str) -> None:
        self._fixture = vendor
        self._base_url = base_url
        self.sandbox: Sandbox | None = sandbox
        self._standin = sandbox

    def entry(self) -> dict[str, Any]:
        """The fixture's entry, allowed to reach the stand-in: it runs on this machine."""
        return {"allow_private_hosts": ["127.0.0.1"], **self._fixture.system(self._base_url)}

    def reset(self, options: Mapping[str, Any] | None = None) -> None:
        self._standin.options = {**copy.deepcopy(dict(self._fixture.options)), **(options or {})}
        self._standin.faults = []
        self._standin.journal.clear()
        self._standin.state = self._standin.empty_state()
        self._standin.seed(self._fixture.account())

    def seed(self, people: Sequence[TestPerson]) -> None:
        self._standin.seed(self._fixture.people(people))

    def rows(self) -> list[dict[str, Any]]:
        return copy.deepcopy(self._standin.records())
