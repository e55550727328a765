"""Write the table `attempts`: each attempt before its call, and its ending afterwards.

Decides no outcome.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    DateTime,
    Integer,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import NullType

from connectors.base.errors import ConnectorError
from connectors.base.values import Answer, Located
from service.domain.audit.schema import is_code
from service.domain.execution.decide import NOT_A_CODE
from service.domain.execution.events import Result
from service.store.arrays import array_parameter, int_array, uuid_array
from service.store.execute import execute
from service.store.tables.work import AttemptRow, StepRow


class AttemptedStep(Protocol):
    """A leased step: the number of its attempt, and the `ref` by which the results name it."""

    @property
    def step_id(self) -> UUID: ...
    @property
    def attempt(self) -> int: ...
    @property
    def ref(self) -> str: ...


def begin_attempts(
    connection: Connection, batch_id: UUID, fence: int, phase: str, numbers: Mapping[UUID, int], now: datetime
) -> None:
    """Write each step's attempt before the call, so that a crash in the call leaves a trace."""
    values = {"batch": batch_id, "f": fence, "phase": phase, "now": now}
    execute(connection, _BEGIN, values | {"steps": uuid_array(numbers), "numbers": int_array(numbers.values())})


_NOW = cast(bindparam("now", type_=NullType()), DateTime(timezone=True))
_BEGUN = (
    func.unnest(array_parameter("steps", Uuid()), array_parameter("numbers", Integer()))
    .table_valued(column("step", Uuid), column("number", Integer))
    .render_derived(name="n")
)
_BEGIN = insert(AttemptRow).from_select(
    ["step_id", "number", "batch_id", "fence", "phase", "started_at"],
    select(
        _BEGUN.c.step,
        _BEGUN.c.number,
        bindparam("batch", type_=Uuid()),
        bindparam("f", type_=BigInteger()),
        bindparam("phase", type_=Text()),
        _NOW,
    ),
    include_defaults=False,
)


def end_attempts(
    connection: Connection,
    fence: int,
    steps: Sequence[AttemptedStep],
    results: Mapping[str, Result],
    now: datetime,
    *,
    late: bool,
    looks: Mapping[str, Answer] = MappingProxyType({}),
) -> None:
    """Write the results of the lease with this fence on its attempts, and the `looks` that followed them.

    `late`: they changed no state.
    """
    kinds: dict[tuple[str | None, ...], int] = {}
    of = [kinds.setdefault(_ending(results.get(step.ref), looks.get(step.ref)), len(kinds)) for step in steps]
    names = ("answer", "code", "status", "look")
    execute(
        connection,
        _END,
        {
            "now": now,
            "is_late": late,
            "f": fence,
            "steps": uuid_array(step.step_id for step in steps),
            "numbers": int_array(step.attempt for step in steps),
            "of": int_array(of),
            "endings": json.dumps([dict(zip(names, each, strict=True), ending=n) for each, n in kinds.items()]),
        },
    )


# Most steps of a batch end alike, so that each ending is sent once.
_STEPS = (
    func.unnest(
        array_parameter("steps", Uuid()), array_parameter("numbers", Integer()), array_parameter("of", Integer())
    )
    .table_valued(column("step", Uuid), column("number", Integer), column("ending", Integer))
    .render_derived(name="n")
)
_ENDINGS = (
    func.jsonb_to_recordset(cast(bindparam("endings", type_=NullType()), JSONB))
    .table_valued(
        column("ending", Integer),
        column("answer", Text),
        column("code", Text),
        column("status", Integer),
        column("look", Text),
    )
    .render_derived(name="e", with_types=True)
)
_END = (
    update(AttemptRow)
    .values(
        {
            AttemptRow.ended_at: _NOW,
            AttemptRow.answer: _ENDINGS.c.answer,
            AttemptRow.code: _ENDINGS.c.code,
            AttemptRow.http_status: _ENDINGS.c.status,
            AttemptRow.look: _ENDINGS.c.look,
            AttemptRow.late: cast(bindparam("is_late", type_=NullType()), Boolean),
        }
    )
    .where(
        AttemptRow.step_id == _STEPS.c.step,
        AttemptRow.number == _STEPS.c.number,
        _STEPS.c.ending == _ENDINGS.c.ending,
        # "+ 0": no index may be asked for the fence. Planned while the table was small, it would be read whole
        # (measured).
        AttemptRow.fence + literal_column("0") == bindparam("f", type_=BigInteger()),
    )
)


def delete_attempts(connection: Connection, request_ids: Collection[UUID]) -> list[UUID]:
    """Delete the attempts of these requests' steps; return the batches that had them."""
    return execute(connection, _DELETE, {"ids": uuid_array(request_ids)}).scalars()


# Steps by their requests first, then attempts by their steps: otherwise the whole table would be read.
_OF_REQUESTS = (
    select(StepRow.id)
    .where(StepRow.request_id == func.any(array_parameter("ids", Uuid())))
    .cte("step")
    .prefix_with("MATERIALIZED")
)
_GONE = delete(AttemptRow).where(AttemptRow.step_id.in_(select(_OF_REQUESTS.c.id))).returning(AttemptRow.batch_id)
_DELETE = select(_GONE.cte("gone").c.batch_id).distinct()


def _ending(result: Result | None, look: Answer | None) -> tuple[str | None, ...]:
    return result_name(result), error_code(result), _status(result), None if look is None else result_name(look)


def _status(result: Result | None) -> str | None:
    return str(result.status) if isinstance(result, ConnectorError) and result.status is not None else None


def result_name(result: Result | None) -> str:
    """The code of a result in attempts and in the audit log."""
    if result is None:
        return "no_answer"
    if isinstance(result, ConnectorError):
        return _ERROR_NAMES.get(type(result).__name__, "error")
    if isinstance(result, Located):
        return "located" if not result.is_empty else "nothing_located"
    return result.kind.value


def error_code(result: Result | None) -> str | None:
    """Return the code of an error, or an answer's reason.

    The reason is a third party's text, so it counts only if it has the form of a code.
    """
    code: str | None = result.code if isinstance(result, ConnectorError) else getattr(result, "reason", None)
    return code if code is None or is_code(code) else NOT_A_CODE


_ERROR_NAMES = {
    "TemporarilyUnavailable": "temporarily_unavailable",
    "CredentialsRefused": "credentials_refused",
    "RequestRefused": "request_refused",
    "AnswerNotUnderstood": "answer_not_understood",
}
