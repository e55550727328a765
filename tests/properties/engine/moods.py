"""How a model vendor behaves towards one person in one call. The machine chooses; the connector acts it out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.transitions.states import Phase


class Mood(StrEnum):
    """What the vendor does. The errors act before or after the effect, as their names say."""

    HONEST = "honest"
    LATER = "later"  # accepted; purged later by itself
    JOB = "job"  # accepted, an erasure or a suppression; a job that must be asked for again
    LOCKED = "locked"  # all but one record
    RETAINS = "retains"  # keeps one on purpose
    AMBIGUOUS = "ambiguous"
    UNADDRESSABLE = "unaddressable"
    LIES = "lies"  # says erased, hides the records for a while, and has them all
    LIES_ABSENT = "lies_absent"  # says there was nothing
    BUSY = "busy"
    BUSY_FOR_LONG = "busy_for_long"
    LOST = "lost"  # acts, and the answer is lost
    REFUSES = "refuses"
    GARBLED = "garbled"  # acts, and nobody understands the answer
    LOCKS_US_OUT = "locks_us_out"
    SILENT = "silent"  # no answer for this person
    WRONG_KIND = "wrong_kind"
    BREAKS = "breaks"  # acts, and the connector's own code fails: everybody's answer is lost
    ACCEPTS = "accepts"  # a suppression that will be in force later


class PassMood(StrEnum):
    """How the system behaves towards a whole pass."""

    WELL = "well"
    BLIND = "blind"  # every look answers, and sees nothing
    DOWN = "down"
    REFUSED = "refused"  # one refusal for everybody in the call


# Being busy is what happens most.
_ERRORS = (
    *(3 * [Mood.BUSY]),
    Mood.BUSY_FOR_LONG,
    Mood.REFUSES,
    Mood.GARBLED,
    Mood.LOCKS_US_OUT,
    Mood.SILENT,
    Mood.BREAKS,
)
# And a lie is what does the most harm.
_LIES = (Mood.LIES, Mood.LIES, Mood.LIES_ABSENT)
MOODS: Mapping[Phase, tuple[Mood, ...]] = {
    Phase.LOCATE: (Mood.HONEST, *_ERRORS, Mood.UNADDRESSABLE),
    Phase.SUPPRESS: (Mood.HONEST, *_ERRORS, Mood.UNADDRESSABLE, Mood.LOST, Mood.WRONG_KIND, Mood.ACCEPTS, Mood.JOB),
    Phase.ERASE: (Mood.BUSY, *_LIES, *(m for m in Mood if m is not Mood.ACCEPTS)),
    Phase.CONFIRM: (
        Mood.HONEST,
        *_ERRORS,
        Mood.UNADDRESSABLE,
        Mood.WRONG_KIND,
        Mood.AMBIGUOUS,
        Mood.RETAINS,
    ),
}
"""What may be chosen in each phase. A look never lies about what it sees: nobody could tell."""


def error_of(mood: Mood) -> ConnectorError | None:
    """The error that a person's call ends in, if any."""
    return {
        Mood.BUSY: TemporarilyUnavailable("busy", status=503),
        Mood.BUSY_FOR_LONG: TemporarilyUnavailable("rate_limited", status=429, retry_after_seconds=90),
        Mood.LOST: TemporarilyUnavailable("no_answer", effect_unknown=True),
        Mood.REFUSES: RequestRefused("not_possible", status=422),
        Mood.GARBLED: AnswerNotUnderstood("not_of_its_form", effect_unknown=True),
        Mood.LOCKS_US_OUT: CredentialsRefused("not_accepted", status=401),
    }.get(mood)
