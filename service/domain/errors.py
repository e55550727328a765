"""Refusals of the business: each carries its status and code where it is defined, and is rendered in one place.

`field` is a JSON pointer into what was sent; no refusal repeats a value. Where several things are wrong, `errors` has
each one's field and reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.field_problems import FieldProblem


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """Something that we don't do, with the reason in words that may be shown to the caller."""

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
        """`errors`: further places with their reasons. `allowed`: what is taken at `field`; one is `did_you_mean`."""
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.errors = tuple(errors) if field is None else ((field, reason), *errors)
        self.allowed = tuple(allowed)
        self.did_you_mean = did_you_mean

    @property
    def problems(self) -> list[FieldProblem]:
        """Each place that is wrong; what is allowed is known for `field` only."""
        own = (self.allowed, self.did_you_mean)
        return [FieldProblem(at, why, *(own if at == self.field else ())) for at, why in self.errors]


class NotFound(Refusal):
    """There is no such thing, or not for this key."""

    status = 404
    code = "not_found"


class Invalid(Refusal):
    """What was sent is of the right form but can't be meant."""

    status = 422
    code = "invalid"


class UndecidedDoubts(Invalid):
    """A review leaves a doubt undecided, names a wrong one, or decides what a doubt doesn't allow."""

    code = "undecided_doubts"


class UnknownKind(Invalid):
    """An identifier of a kind that nothing here knows: no system could be asked by it."""

    code = "unknown_kind"


class KindNotAvailable(Invalid):
    """A kind of request that nobody would carry out yet: it is not accepted."""

    code = "kind_not_available"


class IdempotencyConflict(Refusal):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_conflict"


class ReferenceInUse(Refusal):
    """Another request of the same API key has this external reference."""

    code = "reference_in_use"


class WrongState(Refusal):
    """The request isn't in a state in which this can be done."""

    code = "wrong_state"


class SamePerson(Refusal):
    """Whoever submitted a request can't be the second person."""

    status = 403
    code = "same_person"


class StalePlan(Refusal):
    """The plan that was looked at isn't the newest one."""

    code = "stale_plan"


class StaleDoubts(Refusal):
    """The doubts that were looked at aren't the newest ones."""

    code = "stale_doubts"


class HeldPerson(Refusal):
    """A legal hold is in force: it goes before any decision about a step."""

    code = "legal_hold"


class Sealed(Refusal):
    """The values are gone for good: the request is sealed and its key destroyed."""

    status = 410
    code = "sealed"


class EvidenceRemoved(Refusal):
    """The log's entries about this are gone: their retention was over."""

    status = 410
    code = "evidence_removed"
