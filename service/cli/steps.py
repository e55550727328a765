"""`expunge steps`: what waits for a human, why, and letting it go on or ending it, over the API."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from service.cli.client import DEFAULT_URL, Api, KeyFile, Unusable, Url, short_errors
from service.cli.groups import command_group
from service.cli.printing import AsJson, Wide, note, say, show_json, show_table
from service.use_cases.list_steps import ListedState
from service.use_cases.resolve_step import Decision, ResolutionReason

app = command_group("steps", "Steps that haven't ended.")


class AttestedOutcome(StrEnum):
    """The ends that a human may attest. `absent` and `erased_*` aren't among them: only a look earns those."""

    RETAINED = Decision.RETAINED.value
    NOT_ADDRESSABLE = Decision.NOT_ADDRESSABLE.value
    UNRESOLVED = Decision.UNRESOLVED.value


@app.command("list")
def list_page(
    state: Annotated[ListedState, typer.Option(help="What the steps are doing.")] = ListedState.PARKED,
    system: Annotated[str | None, typer.Option(help="Only of this system.")] = None,
    reason: Annotated[str | None, typer.Option(help="Such as credentials_refused.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    cursor: Annotated[str | None, typer.Option(help="Of the next page.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """List steps, parked ones unless told otherwise, with what their reasons mean."""
    query = {"state": state.value, "system": system, "reason": reason, "limit": limit, "cursor": cursor}
    with short_errors():
        page = Api(url, key_file).call("GET", "/v1/steps", query=query)
    if as_json:
        show_json(page)
        return
    rows = [
        (
            each["id"],
            each["system"],
            each["phase"],
            each["reason"],
            each["last_http_status"],
            each["attempts"],
            each["respond_by"],
            "OVERDUE" if each["overdue"] else "",
        )
        for each in page["steps"]
    ]
    show_table(f"{state.value} steps", ("id", "system", "phase", "reason", "HTTP", "attempts", "respond by", ""), rows)
    explained = {
        (each["reason"] or "").partition(":")[0]: each["explanation"] for each in page["steps"] if each["explanation"]
    }
    for word, explanation in explained.items():
        note(f"{word}: {explanation['means']}\n  {explanation['next']}")
    if page["next_cursor"]:
        note(f"more: --cursor {page['next_cursor']}")


@app.command()
def retry(
    step_id: Annotated[UUID | None, typer.Argument(help="One step.", show_default=False)] = None,
    system: Annotated[str | None, typer.Option(help="Or all of this system that are parked with --reason.")] = None,
    reason: Annotated[str | None, typer.Option(help="What they are parked as, such as credentials_refused.")] = None,
    note_code: Annotated[ResolutionReason, typer.Option(help="Why they may go on.")] = ResolutionReason.CAUSE_FIXED,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Let parked steps go on: one, or all of a system that are parked for one reason."""
    with short_errors():
        if (step_id is None) == (system is None) or (system is None) != (reason is None):
            raise Unusable("give a step's id, or --system together with --reason")
        api = Api(url, key_file)
        if step_id is not None:
            answer = api.call("POST", f"/v1/steps/{step_id}/retry", {"reason": note_code.value})
        else:
            answer = _retry_all(api, {"system": system, "parked_as": reason, "reason": note_code.value})
    if as_json:
        show_json(answer)
    elif step_id is not None:
        say(f"{answer['id']} {answer['state']}")
    else:
        say(f"{answer['retried']} go on, {answer['held']} are held, {answer['withdrawn']} were withdrawn")


def _retry_all(api: Api, body: dict[str, Any]) -> dict[str, int]:
    total = {"retried": 0, "held": 0, "withdrawn": 0}
    after: str | None = None
    while True:
        answer = api.call("POST", "/v1/steps/retry", body | {"after": after})
        for name in total:
            total[name] += answer[name]
        after = answer["next_after"]
        if after is None:
            return total


@app.command()
def attest(
    step_id: Annotated[UUID, typer.Argument(help="The parked step.", show_default=False)],
    outcome: Annotated[AttestedOutcome, typer.Option(help="What is true of it.")],
    note_code: Annotated[ResolutionReason, typer.Option(help="How you know, or why.")],
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """End a parked step under your key's name; it stands so in the audit log and on the certificate."""
    with short_errors():
        api = Api(url, key_file)
        step = api.call("GET", f"/v1/steps/{step_id}")
        path = f"/v1/requests/{step['request_id']}/steps/{step['system']}/resolve"
        api.call("POST", path, {"decision": outcome.value, "reason": note_code.value})
        ended = api.call("GET", f"/v1/steps/{step_id}")
    if as_json:
        show_json(ended)
        return
    say(f"{ended['id']} {ended['state']} ({ended['reason']})")
