"""Values at the border: consistent by construction, silent when printed."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.values import Answer, AnswerKind, Batch, Identifier, Left, Located, Record, Subject

EMAIL = "ada@example.test"


@pytest.mark.parametrize(
    "value",
    [
        Identifier("email", EMAIL),
        Record("user", EMAIL),
        Subject("s1", (Identifier("email", EMAIL),), (Record("user", EMAIL),)),
        Batch("k", (Subject("s1", (Identifier("email", EMAIL),)),)),
        Left("user", EMAIL, "locked"),
        Located((Record("user", EMAIL),), {"user": 1}, (Identifier("email", EMAIL),)),
        Answer.partial((Left("user", EMAIL),), found=Located((Record("user", EMAIL),))),
    ],
)
def test_nothing_personal_is_printed(value: object) -> None:
    assert EMAIL not in repr(value) + str(value)


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Identifier("email", EMAIL).value = "other"  # type: ignore[misc]  # the very thing under test


def test_a_subject_gives_values_of_one_kind_once_and_in_order() -> None:
    identifiers = [
        Identifier("email", "b"),
        Identifier("phone", "1"),
        Identifier("email", "a"),
        Identifier("email", "b"),
    ]
    subject = Subject("s1", tuple(identifiers), (Record("user", "2"), Record("ticket", "1"), Record("user", "2")))
    assert subject.values("email") == ("b", "a")
    assert subject.record_ids("user") == ("2",)
    assert subject.values("customer_id") == ()


def test_two_people_of_a_batch_can_not_have_one_reference() -> None:
    with pytest.raises(ValueError, match="unique"):
        Batch("k", (Subject("s1", ()), Subject("s1", ())))


def test_an_accepted_answer_knows_its_time_zone() -> None:
    with pytest.raises(ValueError, match="timezone-aware"):
        Answer.accepted(datetime(2026, 11, 22))  # noqa: DTZ001 - the very thing under test
    assert Answer.accepted(datetime(2026, 11, 22, tzinfo=UTC)).kind is AnswerKind.ACCEPTED


def test_a_partial_answer_says_what_is_left() -> None:
    with pytest.raises(ValueError, match="left"):
        Answer.partial(())


def test_located_is_empty_only_without_records_and_counts() -> None:
    assert Located().is_empty
    assert Located(counts={"user": 0}).is_empty
    assert not Located(counts={"user": 1}).is_empty
    assert not Located((Record("user", "1"),)).is_empty


def test_an_error_carries_a_code_and_never_a_text() -> None:
    for text in (EMAIL, "Not found!", "", "a" * 81, "two words"):
        with pytest.raises(ValueError, match="code"):
            ConnectorError(text)
    error = TemporarilyUnavailable("rate_limited", status=429, retry_after_seconds=7)
    assert str(error) == "rate_limited (HTTP 429)"
    assert error.retry_after_seconds == 7
    assert not error.effect_unknown


@pytest.mark.parametrize("kind", [TemporarilyUnavailable, CredentialsRefused, RequestRefused, AnswerNotUnderstood])
def test_the_four_are_one_family(kind: type[ConnectorError]) -> None:
    assert issubclass(kind, ConnectorError)
    assert kind("code", effect_unknown=True).effect_unknown
