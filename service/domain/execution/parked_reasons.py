"""The meaning of each reason of a parked step and the next action of a human, for API and commands.

Decides no outcome. deploy/runbooks/parked_step.md explains the same at length; tests compare both with the reasons that
the engine can set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from connectors.base.transitions.states import KEY_GONE, LEGAL_HOLD, PROCESS_DIED, SYSTEM_REMOVED, WITHDRAWN


@dataclass(frozen=True)
class Explanation:
    """The meaning of a reason, and the next action of a human."""

    means: str
    next: str


_LOOK_AT_WHAT_IS_LEFT = (
    "Read the step's `remaining` records and the connector's README, remove the cause by hand, then retry."
)

EXPLANATIONS: Mapping[str, Explanation] = MappingProxyType(
    {
        LEGAL_HOLD: Explanation(
            "A legal hold on the person is in force.",
            "Nothing: the step continues by itself when the last hold is lifted or lapses. To keep the data for good: "
            "resolve as `retained`.",
        ),
        WITHDRAWN: Explanation(
            "The request was denied or revoked after data may have been erased, and the look that must follow failed.",
            "Repair the cause that the last attempt's code names, then retry; or resolve as `unresolved`.",
        ),
        SYSTEM_REMOVED: Explanation(
            "The system isn't in the configuration any more.",
            "Add it again under the same name: its steps continue at the next start. If the system no longer exists: "
            "resolve as `unresolved`, reason `system_gone`.",
        ),
        KEY_GONE: Explanation(
            "The request's key is missing in the key store, so that its identifiers can't be read any more.",
            "See the runbook restore_from_backup; submit a new request about the person, then resolve as `unresolved`.",
        ),
        PROCESS_DIED: Explanation(
            "Sixteen worker processes in a row crashed while they worked on this person, the last one with no other "
            "person in the batch.",
            "Find the reason in the workers' log and the machine's log (out of memory?) and report it; after a fix: "
            "retry. Or erase by hand and resolve as `unresolved`.",
        ),
        "not_addressable": Explanation(
            "The person has no identifier that this system understands, so no search was made.",
            "Search by hand in the system. If there is no record: resolve as `not_addressable`, reason "
            "`checked_by_hand`.",
        ),
        "ambiguous": Explanation(
            "A found record may be another person's; it was not changed.",
            "Examine the record. If it is this person's: resolve as `accept_records`. If not: resolve as `retained` or "
            "`unresolved`.",
        ),
        "still_there": Explanation("Records are left after several rounds.", _LOOK_AT_WHAT_IS_LEFT),
        "found_again": Explanation(
            "New records appear again and again, because another source writes them.",
            "Stop the source (an import, a sync, an earlier system), then retry.",
        ),
        "credentials_refused": Explanation(
            "The credential is wrong or expired, lacks a right, or doesn't see the control record.",
            "Renew it, restart the service, run `expunge systems check`, then retry all of this system.",
        ),
        "request_refused": Explanation(
            "The system understood the call and refused it; the same call will be refused again.",
            "The connector's README explains the code. Repair the cause, then retry; or erase by hand and resolve as "
            "`unresolved`.",
        ),
        "answer_not_understood": Explanation(
            "The answer isn't of the documented form: the vendor has changed it, or the connector has a bug. No "
            "conclusion was drawn from it.",
            "Report it with its code. After a fix: retry all of this system.",
        ),
    }
)
"""The explanations by the reason's word before the colon; a code follows the colon."""

CONNECTORS_OWN = Explanation("A reason of the connector's own about the records that are left.", _LOOK_AT_WHAT_IS_LEFT)


def explain(reason: str) -> Explanation:
    """Return the explanation of a parked step's reason."""
    return EXPLANATIONS.get(reason.partition(":")[0], CONNECTORS_OWN)
