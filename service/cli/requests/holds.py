"""`expunge holds`: place, list and lift legal holds, over the API.

The identifiers of the person come from a file or standard input, never from the command line, and are never shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

import typer

from service.cli.client import DEFAULT_URL, Api, KeyFile, Url, read_json
from service.cli.groups import command_group
from service.cli.printing import AsJson, Wide, say, show_json, show_table
from service.cli.requests.answers import HoldAnswer, HoldsAnswer
from service.domain.requests.holds import HoldReason, LiftReason

app = command_group("holds", "Place, list and lift legal holds.")

# Shown in --help, because a reason can't be removed from the audit log. A test compares them with the enums.
PLACE_REASONS = {
    HoldReason.LITIGATION: "a lawsuit is pending or expected",
    HoldReason.INVESTIGATION: "an internal investigation needs the data",
    HoldReason.REGULATORY_REQUEST: "an authority asked for the data or ordered to keep it",
    HoldReason.AUDIT: "an audit needs the data",
    HoldReason.DISPUTE: "a disagreement with the person isn't settled, such as about a payment",
    HoldReason.OTHER: "anything else; your legal department's file says what",
}
LIFT_REASONS = {
    LiftReason.MATTER_CLOSED: "the reason to keep the data is over",
    LiftReason.PLACED_IN_ERROR: "the hold should never have been placed, or names the wrong person",
    LiftReason.OTHER: "anything else; your legal department's file says what",
}


_Reason = TypeVar("_Reason", HoldReason, LiftReason)


def _explained(reasons: Mapping[_Reason, str]) -> str:
    return "; ".join(f"{reason.value}: {meaning}" for reason, meaning in reasons.items()) + "."


@app.command()
def place(
    identifiers: Annotated[
        Path, typer.Option(help="JSON file (or - for standard input): [{kind, value}, ...] of one person.")
    ],
    reason: Annotated[HoldReason, typer.Option(help=f"Why the data must be kept. {_explained(PLACE_REASONS)}")],
    until: Annotated[
        str | None, typer.Option(help="When the hold ends by itself (RFC 3339); default: when it is lifted.")
    ] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Place a legal hold on a person.

    From its `effective_at` on nothing is erased or suppressed for a request with one of these identifiers, present or
    later, in any system. Identifiers come from a file, because other users of the machine see a command line. The
    audit log shows the reason.
    """
    body = {"identifiers": read_json(identifiers), "reason": reason.value, "until": until}
    hold: HoldAnswer = Api(url, key_file).call("POST", "/v1/holds", body)
    if as_json:
        show_json(hold)
        return
    end = hold["until"] or "it is lifted"
    say(f"placed {hold['id']}, in force everywhere from {hold['effective_at']} until {end}")
    say(f"identifiers: {hold['identifiers']} ({', '.join(hold['kinds'])})")


@app.command("list")
def list_all(
    include_lifted: Annotated[
        bool, typer.Option("--include-lifted", help="Holds that were lifted or lapsed, too.")
    ] = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """List legal holds, newest first.

    Shows the number and the kinds of a hold's identifiers, never their values.
    """
    query = {"include_lifted": "true" if include_lifted else None}
    found: HoldsAnswer = Api(url, key_file).call("GET", "/v1/holds", query=query)
    if as_json:
        show_json(found)
        return
    rows = [
        (
            each["id"],
            each["reason"],
            each["identifiers"],
            ", ".join(each["kinds"]),
            each["effective_at"],
            each["until"],
            each["lifted_at"],
        )
        for each in found["holds"]
    ]
    show_table("holds", ("id", "reason", "identifiers", "kinds", "in force from", "until", "lifted"), rows)


@app.command()
def lift(
    hold_id: Annotated[UUID, typer.Argument(help="Its id, as `holds list` shows it.", show_default=False)],
    reason: Annotated[LiftReason, typer.Option(help=f"Why the hold ends. {_explained(LIFT_REASONS)}")],
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Lift a legal hold.

    Steps that no other hold stops continue at once. The audit log shows the reason.
    """
    hold: HoldAnswer = Api(url, key_file).call("DELETE", f"/v1/holds/{hold_id}", query={"reason": reason.value})
    if as_json:
        show_json(hold)
        return
    say(f"lifted {hold['id']} at {hold['lifted_at']}")
