"""When a call that failed for several people alike is repeated in halves, to find the one who is to blame.

Decides from the error, the phase and what is known of the batch's family: the batches that came of splitting one. And,
where no call failed but the process died with it, who of a batch goes together under its one key. Doesn't decide what
becomes of the person who is left over: the retry policy and the sweeper do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, RequestRefused, TemporarilyUnavailable
from service.domain.execution.states import Phase

T = TypeVar("T")

REPEATED = 3
"""So often in a row a call breaks down before a person may be the cause."""

MOST_DEATHS = 16
"""So many processes in a row die with a person, the last of them with nobody else, before a human must look."""

_ONLY_LOOKS = frozenset({Phase.LOCATE, Phase.CONFIRM})
_BREAKS_DOWN = frozenset({408, 500, 504})


@dataclass(frozen=True)
class SharedFailure:
    """One error that several people have of one call.

    `tries`: how often in a row those who failed least have failed. `has_token`: the connector stored a resume token,
    so a vendor's job may belong to exactly this batch. `family`: batches that came of splitting so far, of a batch of
    `root_people`; `answered`: somebody of them, or of this very batch, had an answer.
    """

    phase: Phase
    error: ConnectorError
    people: int
    tries: int
    has_token: bool
    family: int
    root_people: int
    answered: bool

    @property
    def is_the_systems(self) -> bool:
        """So many parts failed without a single answer that it is no person's fault. Fewer, and the one to blame might
        have been in the part that was tried first each time."""
        return not self.answered and self.family >= 2 * (self.root_people.bit_length() + 1)


def may_split(failure: SharedFailure) -> bool:
    """True if the call may be repeated in halves at once.

    A look may always be repeated. An effect only after a refusal that says that nothing was done, and never away from
    a resume token: jobs that were opened stay with the batch that opened them.
    """
    if failure.people < 2 or failure.is_the_systems:
        return False
    error = failure.error
    if failure.phase not in _ONLY_LOOKS:
        return isinstance(error, RequestRefused) and not error.effect_unknown and not failure.has_token
    if isinstance(error, TemporarilyUnavailable):
        broke_down = error.code == "timeout" or error.status in _BREAKS_DOWN
        return broke_down and (failure.tries >= REPEATED or failure.family > 0)
    return isinstance(error, RequestRefused | AnswerNotUnderstood)


def who_shares_an_error(results: Mapping[str, object]) -> list[tuple[ConnectorError, list[str]]]:
    """Those who have one and the same error, of the same call. Errors of single people are not the same, only alike."""
    groups: dict[int, tuple[ConnectorError, list[str]]] = {}
    for ref, result in results.items():
        if isinstance(result, ConnectorError):
            groups.setdefault(id(result), (result, []))[1].append(ref)
    return [group for group in groups.values() if len(group[1]) > 1]


def halves(people: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Two parts, the first at most one larger."""
    middle = (len(people) + 1) // 2
    return people[:middle], people[middle:]


def select_group(deaths: Mapping[T, int], *, suspects: int) -> frozenset[T]:
    """Of the people of one batch who could go now, those who go together: the healthy never with a suspect.

    `deaths`: per person, how many processes in a row died with them. From REPEATED on a person is a suspect; `suspects`
    counts all of the batch, also those who are to wait. They go in ever smaller parts, those first who were with fewer
    deaths: whoever isn't to blame is answered in one of them, and stops being one.
    """
    innocent = frozenset(person for person, count in deaths.items() if count < REPEATED)
    if innocent or not deaths:
        return innocent
    fewest = min(deaths.values())
    first = [person for person, count in deaths.items() if count == fewest]
    most = -(-suspects // 2 ** (fewest - REPEATED + 1))
    return frozenset(first[: max(most, 1)])
