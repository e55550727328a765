"""Where a connector declares that nobody can look, nobody is asked, and nothing is told as if somebody had answered."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from connectors.base.transitions.states import Phase
from connectors.base.values import AnswerKind, Identifier, Subject
from service.execution import run_batch
from service.execution.attempts import error_code, result_name
from service.execution.lease import LeasedBatch, LeasedStep


class Vendor:
    """As much of a connector as a look needs."""

    def __init__(self, *, can_confirm: bool) -> None:
        kinds = frozenset({"email"})
        self.declaration = SimpleNamespace(can_confirm=can_confirm, identifier_kinds=kinds, verifies_visibility=False)
        self.asked = 0

    def check_credentials(self) -> None:
        self.asked += 1
        raise AssertionError("the vendor was asked")


def _batch() -> LeasedBatch:
    subject = Subject("ada", (Identifier("email", "ada@example.test"),), ())
    step = LeasedStep(uuid4(), uuid4(), "ada", 2, 1, datetime.now(UTC), subject, ())
    return LeasedBatch(uuid4(), "crm", Phase.CONFIRM, 1, (step,), None, asked_at=0.0)


def test_nobody_is_asked_and_no_erasure_is_told() -> None:
    vendor = Vendor(can_confirm=False)
    answers = run_batch.call_connector(cast(Any, vendor), _batch(), cast(Any, None))
    assert vendor.asked == 0
    assert {result_name(cast(Any, answer)) for answer in answers.values()} == {AnswerKind.NOT_ADDRESSABLE.value}
    assert {error_code(cast(Any, answer)) for answer in answers.values()} == {"no_way_to_look"}


def test_whoever_can_be_asked_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(run_batch.operations, "confirm_absence", lambda vendor, batch: asked.append(vendor) or {})
    vendor = Vendor(can_confirm=True)
    run_batch.call_connector(cast(Any, vendor), _batch(), cast(Any, None))
    assert asked == [vendor]
