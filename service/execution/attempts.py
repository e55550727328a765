"""Write on attempts how they ended, by the codes that the audit log knows. Decides no outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection

from connectors.base.errors import ConnectorError
from connectors.base.values import Answer, Located
from service.domain.audit.schema import is_code
from service.domain.execution.decide import NOT_A_CODE
from service.domain.execution.events import Result
from service.execution.lease import LeasedBatch, LeasedStep
from service.store.arrays import int_array, uuid_array
from service.store.execute import execute


def end_attempts(
    connection: Connection,
    leased: LeasedBatch,
    steps: Sequence[LeasedStep],
    results: Mapping[str, Result],
    now: datetime,
    *,
    late: bool,
    looks: Mapping[str, Answer] = MappingProxyType({}),
) -> None:
    """Write this lease's results on its attempts, and the `looks` that followed them; `late` ones changed no state."""
    kinds: dict[tuple[str | None, ...], int] = {}
    of = [kinds.setdefault(_ending(results.get(step.ref), looks.get(step.ref)), len(kinds)) for step in steps]
    names = ("answer", "code", "status", "look")
    execute(
        connection,
        _END,
        {
            "now": now,
            "late": late,
            "f": leased.fence,
            "steps": uuid_array(step.step_id for step in steps),
            "numbers": int_array(step.attempt for step in steps),
            "of": int_array(of),
            "endings": json.dumps([dict(zip(names, each, strict=True), ending=n) for each, n in kinds.items()]),
        },
    )


# Most of a batch ends alike: each way to end is told once.
_END = (
    "UPDATE attempts a SET ended_at = :now, answer = e.answer, code = e.code, http_status = e.status, look = e.look,"
    " late = :late"
    " FROM unnest(CAST(:steps AS uuid[]), CAST(:numbers AS integer[]), CAST(:of AS integer[]))"
    " AS n(step, number, ending)"
    " JOIN jsonb_to_recordset(CAST(:endings AS jsonb)) AS e(ending integer, answer text, code text, status integer,"
    " look text) USING (ending)"
    # "+ 0": no index may be asked for the fence. Planned while the table was small, it would be read whole (measured).
    " WHERE a.step_id = n.step AND a.number = n.number AND a.fence + 0 = :f"
)


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
    """The code of an error, or an answer's reason: a third party's word, so only if it has the shape of a code."""
    code: str | None = result.code if isinstance(result, ConnectorError) else getattr(result, "reason", None)
    return code if code is None or is_code(code) else NOT_A_CODE


_ERROR_NAMES = {
    "TemporarilyUnavailable": "temporarily_unavailable",
    "CredentialsRefused": "credentials_refused",
    "RequestRefused": "request_refused",
    "AnswerNotUnderstood": "answer_not_understood",
}
