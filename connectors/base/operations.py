"""One pass of one operation, the same for the worker and for `expunge connector run`.

Decides the rules that no connector may break: every person of the batch has exactly one answer, no other person has
one, and no absence is concluded in a pass in which the credential did not prove that it can see. Does not decide when a
pass runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, RequestRefused
from connectors.base.interface import Answers, Connector, ErasesBy, Findings, Lease
from connectors.base.values import Answer, AnswerKind, Batch, ChangePage, Located, Subject

_Got = TypeVar("_Got", Answer, Located)

_ERASE_KINDS = frozenset(AnswerKind) - {AnswerKind.SUPPRESSED, AnswerKind.NOT_SUPPRESSED}
_CONFIRM_KINDS = _ERASE_KINDS - {AnswerKind.ERASED}
_SUPPRESS_KINDS = frozenset(
    {AnswerKind.SUPPRESSED, AnswerKind.ACCEPTED, AnswerKind.ALREADY_ABSENT, AnswerKind.NOT_ADDRESSABLE}
)
_READ_KINDS = _SUPPRESS_KINDS | {AnswerKind.NOT_SUPPRESSED}
SCOPE_NOT_OFFERED = "scope_not_offered"
"""The reason of NOT_ADDRESSABLE where a connector offers none of the scopes that a person asked for."""


def locate(connector: Connector, batch: Batch) -> Findings:
    """Search for every person of the batch, under a credential that proves its visibility in this pass.

    A person whom the system can't address has `RequestRefused("not_addressable")`.
    """

    def ask(people: Batch) -> Findings:
        if not connector.declaration.verifies_visibility:
            connector.check_credentials()
        return connector.locate(people)

    return _per_person(connector, batch, ask, RequestRefused("not_addressable"))


def suppress(connector: Connector, batch: Batch, lease: Lease) -> Answers:
    """Suppress every person of the batch for whom the connector offers a scope that is asked for."""
    offered, others = _by_offer(connector, batch)
    answers = _per_person(
        connector, offered, lambda people: connector.suppress(people, lease), Answer.not_addressable()
    )
    return {**others, **_only(answers, _SUPPRESS_KINDS)}


def read_suppression(connector: Connector, batch: Batch) -> Answers:
    """Look whether the scopes asked for are in force. The credential must see before *and* after the look."""

    def ask(people: Batch) -> Answers:
        if connector.declaration.verifies_visibility:
            return connector.read_suppression(people)
        connector.check_credentials()
        answers = connector.read_suppression(people)
        connector.check_credentials()
        return answers

    offered, others = _by_offer(connector, batch)
    return {**others, **_only(_per_person(connector, offered, ask, Answer.not_addressable()), _READ_KINDS)}


def _by_offer(connector: Connector, batch: Batch) -> tuple[Batch, dict[str, Answer | ConnectorError]]:
    """Split off the people who asked only for scopes that the connector doesn't offer."""
    offered = tuple(s for s in batch.subjects if connector.wanted_scopes(s))
    others = {s.ref for s in batch.subjects} - {s.ref for s in offered}
    return Batch(batch.key, offered), dict.fromkeys(others, Answer.not_addressable(SCOPE_NOT_OFFERED))


def erase(connector: Connector, batch: Batch, lease: Lease) -> Answers:
    """Erase every person of the batch. ERASED and ALREADY_ABSENT still need `confirm_absence`."""
    answers = _per_person(connector, batch, lambda people: connector.erase(people, lease), Answer.not_addressable())
    return _only(answers, _ERASE_KINDS)


def confirm_absence(connector: Connector, batch: Batch) -> Answers:
    """Look for records that are left of every person.

    Absence counts only if the credential saw before *and* after the look.
    """

    def ask(people: Batch) -> Answers:
        if connector.declaration.verifies_visibility:
            return connector.confirm_absence(people)
        connector.check_credentials()
        answers = connector.confirm_absence(people)
        if any(isinstance(a, Answer) and a.kind is AnswerKind.ALREADY_ABSENT for a in answers.values()):
            # A credential that goes blind in the middle of the pass would look like absence.
            connector.check_credentials()
        return answers

    return _only(_per_person(connector, batch, ask, Answer.not_addressable()), _CONFIRM_KINDS)


def changed_since(connector: Connector, cursor: str | None, begin_at: datetime) -> ChangePage:
    """Return one page of changes, under a credential that saw before *and* after.

    A blind credential would see no change, for ever.

    Raises ConnectorErrors; then nothing may be concluded, and the cursor stays where it is.
    """
    if connector.declaration.verifies_visibility:
        changes = connector.changed_since(cursor, begin_at)
    else:
        connector.check_credentials()
        changes = connector.changed_since(cursor, begin_at)
        connector.check_credentials()
    if changes.more and changes.cursor == cursor:
        # The same page for ever would look like work.
        raise AnswerNotUnderstood("cursor_stands_still")
    return changes


def is_addressable(connector: Connector, subject: Subject) -> bool:
    """True if the person has a frozen record in this system or an identifier of a kind that it takes."""
    declaration = connector.declaration
    if subject.records and declaration.erases_by is ErasesBy.RECORDS:
        return True
    # Asked one by one: a connector that takes any kind says so by what it contains.
    return any(i.kind in declaration.identifier_kinds for i in subject.identifiers)


def _narrowed(connector: Connector, subject: Subject) -> Subject:
    """The person as this system may see them: identifiers of other kinds stay with us."""
    kinds = connector.declaration.identifier_kinds
    seen = tuple([i for i in subject.identifiers if i.kind in kinds])
    return subject if len(seen) == len(subject.identifiers) else replace(subject, identifiers=seen)


def _per_person(
    connector: Connector,
    batch: Batch,
    ask: Callable[[Batch], Mapping[str, _Got | ConnectorError]],
    unaddressable: _Got | ConnectorError,
) -> dict[str, _Got | ConnectorError]:
    """Ask for the people who can be addressed.

    Each person has exactly one answer; an error of the call is everyone's.
    """
    people = tuple([_narrowed(connector, s) for s in batch.subjects if is_addressable(connector, s)])
    asked = {s.ref for s in people}
    answers: dict[str, _Got | ConnectorError] = {s.ref: unaddressable for s in batch.subjects if s.ref not in asked}
    if not people:
        return answers
    try:
        got = ask(Batch(batch.key, people))
    except ConnectorError as error:
        return answers | dict.fromkeys(asked, error)
    if not set(got) <= asked:
        return answers | dict.fromkeys(asked, AnswerNotUnderstood("answer_for_somebody_else", effect_unknown=True))
    for ref in asked:
        answers[ref] = got.get(ref) or AnswerNotUnderstood("no_answer_for_person", effect_unknown=True)
    return answers


def _only(answers: Answers, kinds: frozenset[AnswerKind]) -> Answers:
    """Answers of a kind that the operation can't have become AnswerNotUnderstood."""
    return {
        ref: answer
        if isinstance(answer, ConnectorError) or answer.kind in kinds
        else AnswerNotUnderstood("answer_of_wrong_kind", effect_unknown=True)
        for ref, answer in answers.items()
    }
