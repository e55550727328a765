"""The facts of each request and step that reports count, read from the audit log entry by entry.

Decides the meaning of the log's events for a report: when a request was answered, with which answer, and when a system
first answered. Doesn't decide which report counts a request; each report does. Memory grows with the number of
requests, not of entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from connectors.base.transitions.states import StepState
from service.domain.audit.entry import EntryMembers
from service.domain.audit.events import EventData

DONE = frozenset(
    {
        StepState.ERASED_VERIFIED,
        StepState.ERASED_UNVERIFIED,
        StepState.ABSENT,
        StepState.SUPPRESSED,
        StepState.SUPPRESSED_UNVERIFIED,
    }
)
"""Outcomes after which the system holds no data of the person that had to be erased."""

_TELLING = frozenset({"suppress", "erase"})
_HEARD = frozenset({"erased", "already_absent", "accepted", "partial", "retained", "suppressed"})
_ERRORS = frozenset(
    {
        "temporarily_unavailable",
        "credentials_refused",
        "request_refused",
        "answer_not_understood",
        "error",
        "no_answer",
    }
)
_ANSWERED = {
    "request_fulfilled": "fulfilled",
    "request_denied": "denied",
    "request_revoked": "revoked",
    "request_expired": "expired",
}
_UNLINKED = (None, "unlinked")


@dataclass
class Recipient:
    """One system in one request. `told_at` is when it first answered a call to suppress or erase."""

    step_id: str
    system: str
    opened_at: datetime
    told_at: datetime | None = None
    outcome: str | None = None
    reason: str | None = None
    ended_at: datetime | None = None
    state: str = "due"
    attempts: int = 0
    errors: int = 0
    erased: int = 0
    left: int = 0
    telling: bool = False

    @property
    def is_whole(self) -> bool:
        """Return whether the step ended with no record left."""
        return self.outcome in DONE and not self.left


@dataclass
class Case:
    """One request. `answer` is `fulfilled`, `denied`, `revoked`, `expired`, or None while it is open.

    `reappearance_of` is the first request of an erased person if the suppression sync opened this one, without a
    requester.
    """

    request_id: str
    kind: str
    regime: str
    received_at: datetime
    manner: str
    respond_by: datetime
    verified_identifiers: int
    first_respond_by: datetime
    extended_at: datetime | None = None
    extension_reason: str | None = None
    overdue_at: datetime | None = None
    answer: str | None = None
    answered_at: datetime | None = None
    denial_reason: str | None = None
    approved_by: list[str] = field(default_factory=list)
    linked_to: str | None = None
    reappearance_of: str | None = None
    steps: list[Recipient] = field(default_factory=list)


@dataclass
class Register:
    """All cases and systems of the log. Call `see` for each entry in order."""

    cases: dict[str, Case] = field(default_factory=dict)
    connectors: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, list[str]] = field(default_factory=dict)
    """The data that each system's connector last declared as not covered."""
    _steps: dict[str, Recipient] = field(default_factory=dict)

    def see(self, entry: EntryMembers) -> None:
        """Add one decoded entry. Entries that no report needs are ignored."""
        event, data = entry["event"], entry["data"]
        if event == "request_submitted":
            self._submitted(entry)
        elif entry["object"] == "request" and (case := self.cases.get(entry["object_id"])):
            _request(case, event, data, entry)
            if event == "request_settled":
                self._opened(case, entry)
        elif event == "batch_leased":
            for step_id in data["steps"]:
                if leased := self._steps.get(step_id):
                    leased.attempts += 1
                    leased.telling = data["phase"] in _TELLING
                    leased.state = data["state"]
        elif entry["object"] == "step" and (step := self._steps.get(entry["object_id"])):
            _step(step, event, data, _instant(entry["at"]))
        elif event in ("system_added", "system_changed") and data.get("connector"):
            self.connectors[entry["object_id"]] = data["connector"]
            self.gaps[entry["object_id"]] = data.get("not_covered") or []

    def not_covered(self, system: str) -> str | None:
        """Return the declared gaps of a system as one cell; None if the log names none."""
        return "; ".join(self.gaps.get(system, ())) or None

    def steps_of(self, case: Case) -> list[Recipient]:
        """Return the steps that carried out a request; for a linked request those of the earlier one."""
        seen = {case.request_id}
        while case.linked_to in self.cases and case.linked_to not in seen:
            case = self.cases[case.linked_to]
            seen.add(case.request_id)
        return case.steps

    def _submitted(self, entry: EntryMembers) -> None:
        data, respond_by = entry["data"], _instant(entry["data"]["respond_by"])
        self.cases[entry["object_id"]] = Case(
            request_id=entry["object_id"],
            kind=data["kind"],
            regime=data["regime"],
            # The oldest entries have no time of receipt; the time of acceptance replaces it.
            received_at=_instant(data.get("received_at") or entry["at"]),
            manner="api" if entry["actor"].startswith("key:") else entry["actor"].partition(":")[0],
            respond_by=respond_by,
            verified_identifiers=data["verified"],
            first_respond_by=respond_by,
            linked_to=data.get("linked_to"),
        )

    def _opened(self, case: Case, entry: EntryMembers) -> None:
        """Add the steps that begin with the entry."""
        at = _instant(entry["at"])
        for step_id, system in zip(entry["data"]["steps"], entry["data"]["systems"], strict=True):
            step = Recipient(step_id, system, at)
            case.steps.append(step)
            self._steps[step.step_id] = step


def _request(case: Case, event: str, data: EventData, entry: EntryMembers) -> None:
    at = _instant(entry["at"])
    if event in _ANSWERED:
        case.answer, case.answered_at = _ANSWERED[event], at
        case.denial_reason = data.get("reason") if event == "request_denied" else None
    elif event == "person_reappeared":
        case.reappearance_of, case.manner = data["origin"], "reappearance"
    elif event == "request_extended":
        case.extended_at, case.extension_reason = at, data["reason"]
        case.respond_by = _instant(data["respond_by"])
    elif event == "request_overdue":
        case.overdue_at = at
    elif event == "plan_approved":
        case.approved_by.append(entry["actor"])
    elif event == "request_linked":
        case.linked_to = data["to"]
    elif event == "request_resumed" and data.get("reason") in _UNLINKED:
        case.linked_to = None


def _step(step: Recipient, event: str, data: EventData, at: datetime) -> None:
    if event in ("step_answered", "step_ended", "step_answered_late"):
        answer = data.get("answer")
        if step.telling and step.told_at is None and answer in _HEARD:
            step.told_at = at
        step.errors += answer in _ERRORS
        # A late answer and a human's decision have no new count of what is left.
        step.left = step.left if data.get("left") is None else data["left"]
        step.erased += data.get("records") or 0
    if event == "step_ended":
        step.outcome, step.reason, step.ended_at = data["outcome"], data.get("reason"), at
    if data.get("state"):
        step.state = data["state"]


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
