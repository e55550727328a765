"""A connector in memory whose every answer a test scripts, and a clock that moves when somebody sleeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from connectors.base.config import NoPolicy, SystemConfig
from connectors.base.errors import ConnectorError
from connectors.base.interface import Answers, Connector, Declaration, Delays, ErasesBy, Findings, Lease, Operation
from connectors.base.runner import Patience
from connectors.base.values import Answer, Batch, Identifier, Located, Subject, Visibility

DECLARATION = Declaration(
    name="fake",
    identifier_kinds=frozenset({"email"}),
    operations=frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM}),
    erases_by=ErasesBy.RECORDS,
    max_subjects_per_call={Operation.LOCATE: 10, Operation.ERASE: 2, Operation.CONFIRM: 10, Operation.SUPPRESS: 10},
    delays=Delays(confirm_after=timedelta(seconds=30)),
)


class FakeClock:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)

    @property
    def patience(self) -> Patience:
        return Patience(retries=2, pause=timedelta(seconds=1), now=self.now, sleep=self.sleep)


Script = Callable[[Subject, Batch, Lease | None], Any]


class FakeConnector(Connector):
    """Each operation asks its script per person. Raised errors are the whole call's, returned ones the person's."""

    declaration: ClassVar[Declaration] = DECLARATION
    Credentials = NoPolicy

    def __init__(self, scripts: Mapping[str, Script] | None = None, **declared: Any) -> None:
        super().__init__(SystemConfig("fake", "fake", "x", NoPolicy(), NoPolicy()))
        if Operation.SUPPRESS in declared.get("operations", ()):
            declared.setdefault("suppression_scopes", frozenset({"do_not_contact:email"}))
        self.__dict__["declaration"] = replace(DECLARATION, **declared)
        self.scripts = dict(scripts or {})
        self.log: list[tuple[str, tuple[str, ...]]] = []
        self.batches: list[tuple[str, str]] = []
        self.checks = 0
        self.check_error: Callable[[int], ConnectorError | None] = lambda _: None

    @property
    def calls(self) -> int:
        return len(self.log)

    def check_credentials(self) -> Visibility:
        self.checks += 1
        error = self.check_error(self.checks)
        if error is not None:
            raise error
        return Visibility("control_record")

    def locate(self, batch: Batch) -> Findings:
        return self._each("locate", batch, None, Located())

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        return self._each("erase", batch, lease, Answer.erased({"user": 1}))

    def suppress(self, batch: Batch, lease: Lease) -> Answers:
        return self._each("suppress", batch, lease, Answer.suppressed())

    def read_suppression(self, batch: Batch) -> Answers:
        return self._each("read_suppression", batch, None, Answer.suppressed())

    def confirm_absence(self, batch: Batch) -> Answers:
        return self._each("confirm", batch, None, Answer.already_absent())

    def _each(self, name: str, batch: Batch, lease: Lease | None, default: Any) -> dict[str, Any]:
        self.log.append((name, tuple(s.ref for s in batch.subjects)))
        self.batches.append((name, batch.key))
        script = self.scripts.get(name)
        return {s.ref: default if script is None else script(s, batch, lease) for s in batch.subjects}


def person(ref: str, *emails: str, kind: str = "email") -> Subject:
    return Subject(ref, tuple(Identifier(kind, e) for e in emails or (f"{ref}@example.test",)))
