"""Refusals by business rules. Each class defines its HTTP status and code; one place renders them all.

`field` is a JSON pointer into the request body; no refusal repeats a value. If several fields are wrong, `errors` has
the field and the reason of each.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.field_problems import FieldProblem


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """An operation that the service refuses, with a reason that may be shown to the caller."""

    status = 409
    code = "refused"

    def __init__(
        self,
        reason: str,
        *,
        field: str | None = None,
        errors: Sequence[tuple[str, str]] = (),
        allowed: Sequence[str] = (),
        did_you_mean: str | None = None,
    ) -> None:
        """Create a refusal; `errors` are further fields with their reasons.

        `allowed`: the values that `field` accepts; `did_you_mean` is one of them.
        """
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.errors = tuple(errors) if field is None else ((field, reason), *errors)
        self.allowed = tuple(allowed)
        self.did_you_mean = did_you_mean

    @property
    def problems(self) -> list[FieldProblem]:
        """Return each wrong field with its reason; only the problem of `field` lists the allowed values."""
        own = (self.allowed, self.did_you_mean)
        return [FieldProblem(at, why, *(own if at == self.field else ())) for at, why in self.errors]


class NotFound(Refusal):
    """The object doesn't exist, or this key may not see it."""

    status = 404
    code = "not_found"


class Invalid(Refusal):
    """The body has the right form, but its meaning is impossible."""

    status = 422
    code = "invalid"


class UndecidedDoubts(Invalid):
    """A review leaves a doubt undecided, names a wrong one, or decides one in a way it doesn't allow."""

    code = "undecided_doubts"


class UnknownKind(Invalid):
    """The identifier's kind is unknown to every system and to the identity graph of this installation."""

    code = "unknown_kind"


class KindNotAvailable(Invalid):
    """Requests of this kind aren't accepted, because no worker can carry them out yet."""

    code = "kind_not_available"


class IdempotencyConflict(Refusal):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_conflict"


class ReferenceInUse(Refusal):
    """Another request of the same API key has this external reference."""

    code = "reference_in_use"


class WrongState(Refusal):
    """The request's state doesn't allow the operation."""

    code = "wrong_state"


class SamePerson(Refusal):
    """A key that submitted or reviewed the request can't approve its plan."""

    status = 403
    code = "same_person"


class StalePlan(Refusal):
    """The plan that the decision names isn't the newest one."""

    code = "stale_plan"


class StaleDoubts(Refusal):
    """The doubts that the decision names aren't the newest ones."""

    code = "stale_doubts"


class HeldPerson(Refusal):
    """A legal hold is in force; it takes precedence over every decision about a step."""

    code = "legal_hold"


class Sealed(Refusal):
    """The values can't be read any more, because the request is sealed and its key is destroyed."""

    status = 410
    code = "sealed"


class EvidenceRemoved(Refusal):
    """The audit entries about this object were removed at the end of their retention."""

    status = 410
    code = "evidence_removed"
