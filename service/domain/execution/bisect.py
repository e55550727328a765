"""Isolation of the one step that makes a batch fail or its worker crash, by halves of the batch.

Decides from the error, the phase and the batch's family (the batches that came from splitting one) whether a failed
call is repeated in halves. After worker crashes it decides which steps of a batch are leased together under the batch's
one key. Doesn't decide what happens to the isolated step: the retry policy and the sweeper do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, RequestRefused, TemporarilyUnavailable
from connectors.base.transitions.states import LOOK_PHASES, Phase

T = TypeVar("T")

REPEATED = 3
"""The number of failures in a row after which one person of the batch may be the cause."""

MOST_DEATHS = 16
"""The number of worker crashes in a row with a person after which a human must look.

The last of the crashes must be one with this person alone in the lease.
"""

_BREAKS_DOWN = frozenset({408, 500, 504})


@dataclass(frozen=True)
class SharedFailure:
    """One error of one call that several people share.

    `consecutive_attempts`: the smallest number of failures in a row among these people. `has_token`: the connector
    stored a resume token, so a vendor's job may belong to exactly this batch. `family`: the number of batches that came
    from splitting a batch of `root_people`; `answered`: a person of them, or of this batch, had an answer.
    """

    phase: Phase
    error: ConnectorError
    people: int
    consecutive_attempts: int
    has_token: bool
    family: int
    root_people: int
    answered: bool

    @property
    def is_the_systems(self) -> bool:
        """Return whether the system, not a person, is the cause, because many parts failed without an answer.

        With fewer failed parts the person that causes the error could have been in the first part of each split.
        """
        return not self.answered and self.family >= 2 * (self.root_people.bit_length() + 1)


def may_split(failure: SharedFailure) -> bool:
    """Return whether the call may be repeated in halves at once.

    A read-only call may be repeated. A call with an effect may be repeated only after a refusal without an effect, and
    never if the batch has a resume token, because an open job of the vendor belongs to the batch that opened it.
    """
    if failure.people < 2 or failure.is_the_systems:
        return False
    error = failure.error
    if failure.phase not in LOOK_PHASES:
        return isinstance(error, RequestRefused) and not error.effect_unknown and not failure.has_token
    if isinstance(error, TemporarilyUnavailable):
        broke_down = error.code == "timeout" or error.status in _BREAKS_DOWN
        return broke_down and (failure.consecutive_attempts >= REPEATED or failure.family > 0)
    return isinstance(error, RequestRefused | AnswerNotUnderstood)


def who_shares_an_error(results: Mapping[str, object]) -> list[tuple[ConnectorError, list[str]]]:
    """Return the people that share one error object of one call, by error.

    Errors of single people may be equal but are different objects.
    """
    groups: dict[int, tuple[ConnectorError, list[str]]] = {}
    for ref, result in results.items():
        if isinstance(result, ConnectorError):
            groups.setdefault(id(result), (result, []))[1].append(ref)
    return [group for group in groups.values() if len(group[1]) > 1]


def halves(people: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Return two parts; the first has at most one person more."""
    middle = (len(people) + 1) // 2
    return people[:middle], people[middle:]


def select_group(deaths: Mapping[T, int], *, suspects: int) -> frozenset[T]:
    """Return the people of one batch that are leased together now; suspects never with the others.

    `deaths`: for each person that could be leased now, the number of worker crashes in a row with them. From REPEATED
    on a person is a suspect; `suspects` counts all suspects of the batch, also those that must wait. Suspects are
    leased in smaller and smaller parts, those with fewer crashes first. A person that doesn't cause the crashes gets an
    answer in one of the parts and is no suspect any more.
    """
    innocent = frozenset(person for person, count in deaths.items() if count < REPEATED)
    if innocent or not deaths:
        return innocent
    fewest = min(deaths.values())
    first = [person for person, count in deaths.items() if count == fewest]
    most = -(-suspects // 2 ** (fewest - REPEATED + 1))
    return frozenset(first[: max(most, 1)])
