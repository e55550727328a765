"""Commands read only members that the API's views have, with the same types."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

import pytest
from pydantic import BaseModel

from service.api.problems import FieldError, Problem
from service.api.routes.steps import RetriedView
from service.api.views import HoldsView, ReceiptView, RevealView, RevokedView, SystemsView
from service.cli.requests import answers
from service.execution.steps.list import StepPage
from service.requests.imports.progress import ImportPage, ImportSummary, ImportView, RefusedPage
from service.requests.list import Page
from service.requests.lookup_subject import SubjectView
from service.requests.show import RequestView

# The type that a command reads, and the views that the API may answer with.
ANSWERS: list[tuple[type, list[type]]] = [
    (answers.ReceiptAnswer, [ReceiptView]),
    (answers.RequestPageAnswer, [Page]),
    (answers.RequestAnswer, [RequestView]),
    (answers.RevokedAnswer, [RevokedView]),
    (answers.IdentityAnswer, [RevealView, RequestView]),
    (answers.SubjectAnswer, [SubjectView]),
    (answers.StepPageAnswer, [StepPage]),
    (answers.RetriedAnswer, [RetriedView]),
    (answers.HoldsAnswer, [HoldsView]),
    (answers.ImportPageAnswer, [ImportPage]),
    (answers.ImportAnswer, [ImportView, ImportSummary]),
    (answers.RefusedPageAnswer, [RefusedPage]),
    (answers.SystemsAnswer, [SystemsView]),
    (answers.ProblemAnswer, [Problem]),
    (answers.FieldErrorAnswer, [FieldError]),
]


@pytest.mark.parametrize(("answer", "views"), ANSWERS, ids=[answer.__name__ for answer, _ in ANSWERS])
def test_a_command_reads_members_of_the_views_with_their_types(answer: type, views: list[type]) -> None:
    assert list(_differences(answer, views, answer.__name__)) == []


def test_every_answer_but_those_of_a_stream_is_compared() -> None:
    compared = {each.__name__ for answer, _ in ANSWERS for each in _within(answer)}
    declared = {name for name, each in vars(answers).items() if is_typeddict(each)}
    # The lines of an import's answer are JSON that no view describes; `test_imports.py` reads them.
    assert declared - compared == {"VerdictAnswer", "ImportEndAnswer"}


def test_a_wrong_type_a_wrong_name_and_a_missing_optional_mark_are_found() -> None:
    class Wrong(answers.ReceiptAnswer):
        regime: int
        nothing: str

    class Always(answers.ImportLineAnswer):
        overdue: int

    assert list(_differences(Wrong, [ReceiptView], "Wrong")) == ["Wrong.nothing", "Wrong.regime"]
    assert list(_differences(Always, [ImportView, ImportSummary], "Always")) == ["Always.overdue"]


def _differences(answer: type, views: list[type], place: str) -> list[str]:
    return [
        f"{place}.{name}"
        for name, hint in sorted(get_type_hints(answer, include_extras=True).items())
        if not _is_read_as_sent(hint, [_hints(view).get(name) for view in views])
    ]


def _is_read_as_sent(read: Any, sent: list[Any]) -> bool:
    """Whether values of the sent types (None: the view lacks the member) are values of the read type."""
    if get_origin(read) is NotRequired:
        (read,) = get_args(read)
        sent = [each for each in sent if each is not None]
    return all(each is not None and _fits(read, each) for each in sent)


def _fits(read: Any, sent: Any) -> bool:
    choices, others = _choices(read), _choices(sent)
    return all(any(_fits_one(choice, other) for choice in choices) for other in others)


def _fits_one(read: Any, sent: Any) -> bool:
    if is_typeddict(read):
        return (is_dataclass(sent) or issubclass(sent, BaseModel)) and not _differences(read, [sent], "")
    if get_origin(read) is list:
        return get_origin(sent) is list and _fits(get_args(read)[0], get_args(sent)[0])
    if get_origin(read) is dict:
        return get_origin(sent) in (dict, Mapping) and _fits(get_args(read)[1], get_args(sent)[1])
    if get_origin(read) is Literal:
        return bool(read == sent)
    return read is (str if sent in (UUID, datetime) else sent)


def _choices(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _hints(view: type) -> dict[str, Any]:
    names = view.model_fields if issubclass(view, BaseModel) else {each.name for each in fields(view)}
    return {name: hint for name, hint in get_type_hints(view).items() if name in names}


def _within(hint: Any) -> set[type]:
    """The TypedDicts in a type, itself included."""
    found = {hint} if is_typeddict(hint) else set()
    parts = get_type_hints(hint, include_extras=True).values() if is_typeddict(hint) else get_args(hint)
    for part in parts:
        found |= _within(part)
    return found
