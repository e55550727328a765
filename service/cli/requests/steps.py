"""`expunge steps`: list, retry and resolve unfinished steps, over the API."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from connectors.base.transitions.states import ListedState
from service.cli.client import DEFAULT_URL, Api, Cursor, KeyFile, Limit, Unusable, Url, short_errors
from service.cli.groups import command_group
from service.cli.printing import AsJson, Wide, note, say, show_json, show_table
from service.cli.requests.answers import RetriedAnswer, StepAnswer, StepPageAnswer
from service.domain.execution.events import Resolution, ResolutionReason

app = command_group("steps", "List, retry and resolve unfinished steps.")


@app.command("list")
def list_page(
    state: Annotated[ListedState, typer.Option(help="Only steps in this state.")] = ListedState.PARKED,
    system: Annotated[str | None, typer.Option(help="Only steps of this system.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only with this reason, such as credentials_refused.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """List steps that haven't ended, by default the parked ones.

    A parked step waits for a human. The meaning of its reason and the next action are printed below the list.
    """
    query = {"state": state.value, "system": system, "reason": reason, "limit": limit, "cursor": cursor}
    with short_errors():
        page: StepPageAnswer = Api(url, key_file).call("GET", "/v1/steps", query=query)
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
            "yes" if each["overdue"] else "",
        )
        for each in page["steps"]
    ]
    columns = ("id", "system", "phase", "reason", "HTTP", "attempts", "respond by", "overdue")
    show_table(f"{state.value} steps", columns, rows)
    explained = {
        (each["reason"] or "").partition(":")[0]: each["explanation"] for each in page["steps"] if each["explanation"]
    }
    for word, explanation in explained.items():
        note(f"{word}: {explanation['means']}\n  {explanation['next']}")
    if page["next_cursor"]:
        note(f"more: --cursor {page['next_cursor']}")


@app.command()
def retry(
    reason: Annotated[ResolutionReason, typer.Option(help="The reason of the retry, such as cause_fixed.")],
    step_id: Annotated[UUID | None, typer.Argument(help="One step.", show_default=False)] = None,
    system: Annotated[
        str | None, typer.Option(help="Instead of one step: all steps of this system that are parked for --parked-as.")
    ] = None,
    parked_as: Annotated[
        str | None, typer.Option(help="The reason they are parked for, such as credentials_refused.")
    ] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Retry one parked step, or many of one system.

    Use it after the cause is repaired. With --system and --parked-as, all steps of that system with that reason are
    retried, except those under a legal hold and those of withdrawn requests.
    """
    with short_errors():
        if (step_id is None) == (system is None) or (system is None) != (parked_as is None):
            raise Unusable("give a step's id, or --system together with --parked-as")
        api = Api(url, key_file)
        if step_id is None:
            total = _retry_all(api, {"system": system, "parked_as": parked_as, "reason": reason.value})
            said = f"{total['retried']} go on, {total['held']} are held, {total['withdrawn']} were withdrawn"
            answer: object = total
        else:
            step: StepAnswer = api.call("POST", f"/v1/steps/{step_id}/retry", {"reason": reason.value})
            said, answer = _standing(step), step
    if as_json:
        show_json(answer)
    else:
        say(said)


def _retry_all(api: Api, body: dict[str, str | None]) -> dict[str, int]:
    total = {"retried": 0, "held": 0, "withdrawn": 0}
    after: str | None = None
    while True:
        answer: RetriedAnswer = api.call("POST", "/v1/steps/retry", body | {"after": after})
        total["retried"] += answer["retried"]
        total["held"] += answer["held"]
        total["withdrawn"] += answer["withdrawn"]
        after = answer["next_after"]
        if after is None:
            return total


@app.command()
def resolve(
    step_id: Annotated[UUID, typer.Argument(help="Its id, as `steps list` shows it.", show_default=False)],
    decision: Annotated[
        Resolution,
        typer.Option(
            help="accept_records: the doubtful records are this person's, search again. The others end the step: the "
            "data is kept on purpose (retained), the system can't know the person (not_addressable), or it stays "
            "unknown if the data is gone (unresolved)."
        ),
    ],
    reason: Annotated[ResolutionReason, typer.Option(help="The reason of the decision.")],
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Decide about a parked step.

    The audit log and the certificate show the decision with the name of your key. `erased_verified` and `absent` can't
    be decided, because they need a look into the system.
    """
    with short_errors():
        body = {"decision": decision.value, "reason": reason.value}
        step: StepAnswer = Api(url, key_file).call("POST", f"/v1/steps/{step_id}/resolve", body)
    if as_json:
        show_json(step)
        return
    say(_standing(step))


def _standing(step: StepAnswer) -> str:
    standing = f"{step['id']} {step['state']}"
    return standing if step["reason"] is None else f"{standing} ({step['reason']})"
