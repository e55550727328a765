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


_LOOK_AT_WHAT_IS_LEFT = "Read the step's `remaining` records and the connector's README, mend it by hand, then retry."

EXPLANATIONS: Mapping[str, Explanation] = MappingProxyType(
    {
        LEGAL_HOLD: Explanation(
            "A legal hold keeps the person.",
            "Nothing: the step goes on by itself when the last hold is lifted or lapses. To keep the data for good: "
            "resolve as `retained`.",
        ),
        WITHDRAWN: Explanation(
            "The request was denied or revoked while something may already have been erased, and the look that is owed "
            "couldn't be done.",
            "Mend what the last attempt's code says, then retry; or resolve as `unresolved`.",
        ),
        SYSTEM_REMOVED: Explanation(
            "The system isn't in the configuration any more.",
            "Put it back under the same name: its steps go on at the next start. If it is gone for good: resolve as "
            "`unresolved`, reason `system_gone`.",
        ),
        KEY_GONE: Explanation(
            "The request's key is missing in the key store: nobody can be addressed any more.",
            "See the runbook restore_from_backup; submit the person anew, then resolve as `unresolved`.",
        ),
        PROCESS_DIED: Explanation(
            "Every worker process that worked on this person died, sixteen in a row, the last with nobody else in the "
            "batch.",
            "The workers' log and the machine's (out of memory?) say why. Report it; after a fix: retry. Or erase by "
            "hand and resolve as `unresolved`.",
        ),
        "not_addressable": Explanation(
            "The person has no identifier that this system understands: nothing was looked at.",
            "Look by hand in the system. Nothing there: resolve as `not_addressable`, reason `checked_by_hand`.",
        ),
        "ambiguous": Explanation(
            "A found record may be somebody else's; nothing was done to it.",
            "Look at the record. It is this person's: resolve as `accept_records`. It isn't: resolve as `retained` or "
            "`unresolved`.",
        ),
        "still_there": Explanation("After several rounds something is left.", _LOOK_AT_WHAT_IS_LEFT),
        "found_again": Explanation(
            "New records keep appearing: something feeds the system.",
            "Stop the feed (an import, a sync, an earlier system), then retry.",
        ),
        "credentials_refused": Explanation(
            "The credential is wrong, expired, lacks a right, or sees nothing where something must be.",
            "Renew it, restart the service, run `expunge systems check`, then retry all of this system.",
        ),
        "request_refused": Explanation(
            "The system understood and refused; asking the same again won't help.",
            "The connector's README explains the code. Mend the cause, then retry; or erase by hand and resolve as "
            "`unresolved`.",
        ),
        "answer_not_understood": Explanation(
            "The answer isn't of the documented form: the vendor changed something, or we have a bug. Nothing is "
            "concluded from it.",
            "Report it with its code. After a fix: retry all of this system.",
        ),
    }
)
"""The explanations by the reason's word before the colon; a code follows the colon."""

CONNECTORS_OWN = Explanation("The connector's own word for what is left.", _LOOK_AT_WHAT_IS_LEFT)


def explain(reason: str) -> Explanation:
    """Return the explanation of a parked step's reason."""
    return EXPLANATIONS.get(reason.partition(":")[0], CONNECTORS_OWN)
