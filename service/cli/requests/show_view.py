"""Print one request as the API shows it: its state, its clock, its plan, its identity and its steps."""

from __future__ import annotations

from connectors.base.transitions.states import StepState
from service.cli.printing import note, say, show_json, show_table
from service.cli.requests.answers import FoundAnswer, RequestAnswer, RevokedAnswer, SummaryAnswer
from service.cli.requests.identity import show_identity


def standing(view: FoundAnswer | SummaryAnswer | RequestAnswer) -> str:
    """State, reason and lateness in one text."""
    standing = view["state"] if view["reason"] is None else f"{view['state']} ({view['reason']})"
    return f"{standing}, OVERDUE" if view.get("overdue") else standing


def show_view(view: RequestAnswer | RevokedAnswer, as_json: bool) -> None:
    """A request as the API answered it: for programs, or as tables for people."""
    if as_json:
        show_json(view)
        return
    if "kind" not in view:  # the key may not read requests
        say(f"{view['id']}: {view['state']}")
        return
    say(f"{view['id']}  {view['kind']} under {view['regime']}: {standing(view)}")
    if view["scopes"]:
        say(f"scopes: {', '.join(view['scopes'])}")
    extended = " (extended)" if view["extended"] else ""
    say(f"received {view['received_at']}, to be answered by {view['respond_by']}{extended}")
    if view["duplicate_of"]:
        say(f"duplicate of {view['duplicate_of']}")
    if view["reappearance_of"]:
        say(f"an erased person who re-appeared: their first request is {view['reappearance_of']}")
    if view["plan"]:
        plan = view["plan"]
        say(f"plan {plan['version']} {plan['hash']} {', '.join(plan['approval_reasons'])}".rstrip())
    show_identity(view)
    steps: list[tuple[object, ...]] = [
        (
            each["system"],
            each["state"],
            each["phase"],
            each["reason"],
            each["look_again_at"] or each["due_at"] or each["ended_at"],
            ", ".join(f"{count} {name}" for name, count in each["erased"].items()),
            ", ".join(f"{count} {name}" for name, count in each["remaining"].items()),
        )
        for each in view["steps"]
    ]
    show_table("steps", ("system", "state", "phase", "reason", "at", "erased", "remaining"), steps)
    for each in view["steps"]:
        if each["state"] == StepState.PARKED:
            note(f"{each['system']} waits for a human: expunge steps resolve {each['id']}, or expunge steps retry")
