"""`expunge request`: the requests of data subjects, over the API.

Identifiers come from a file or standard input, never from the command line, and are shown by `reveal` only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer

from service.cli.client import DEFAULT_URL, Api, Cursor, KeyFile, Limit, Query, Url, read_json, short_errors
from service.cli.groups import command_group
from service.cli.printing import AsJson, Wide, note, say, show_json, show_table
from service.cli.requests.answers import (
    IdentityAnswer,
    ReceiptAnswer,
    RequestAnswer,
    RequestPageAnswer,
    RevokedAnswer,
    SubjectAnswer,
)
from service.cli.requests.identity import show_identity
from service.cli.requests.imports import import_requests
from service.cli.requests.review import review
from service.cli.requests.show_view import show_view, standing
from service.domain.requests.deadlines import REGIMES
from service.domain.requests.states import DenialReason, ExtensionReason, RequestState
from service.domain.suppression.scopes import ALLOWED

# A pretty traceback would print local variables, and those are people.
app = command_group("request", "Submit and follow requests.")
RequestId = Annotated[UUID, typer.Argument(help="The request's id.", show_default=False)]


@app.command()
def submit(
    identifiers: Annotated[
        Path, typer.Option(help="JSON file (or -): [{kind, value, verification: {method, verified_at}}, ...]")
    ],
    kind: Annotated[str, typer.Option(help="Kind of the request.")] = "erasure",
    regime: Annotated[str, typer.Option(help="The law that sets the deadline.")] = "gdpr",
    scope: Annotated[
        list[str] | None, typer.Option(help=f"Scope of a suppression, again for each: {', '.join(ALLOWED)}.")
    ] = None,
    received_at: Annotated[
        str | None, typer.Option(help="When the request was received (RFC 3339); default: now.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Your own reference; never personal.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Key of a submission to repeat.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Submit a request about one person.

    Identifiers come from a file, because other users of the machine see a command line.
    """
    with short_errors():
        body = {
            "kind": kind,
            "regime": regime,
            "identifiers": read_json(identifiers),
            "received_at": received_at or datetime.now(UTC).isoformat(),
            "external_reference": reference,
            **({"scopes": scope} if scope else {}),
        }
        key = idempotency_key or uuid4().hex
        receipt: ReceiptAnswer = Api(url, key_file).call("POST", "/v1/requests", body, headers={"Idempotency-Key": key})
    if as_json:
        show_json(receipt)
        return
    say(f"accepted {receipt['id']}, to be answered by {receipt['respond_by']}")
    if receipt["duplicate_of"]:
        say(f"the same person's request {receipt['duplicate_of']} covers it")


app.command("import")(import_requests)


@app.command("list")
def list_page(
    state: Annotated[RequestState | None, typer.Option(help="Only requests in this state.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only requests with this reason of their state, such as needs_review.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only requests of this kind, such as erasure.")] = None,
    regime: Annotated[str | None, typer.Option(help=f"Only requests under this law: {', '.join(REGIMES)}.")] = None,
    overdue: Annotated[
        bool | None, typer.Option("--overdue/--in-time", help="Only requests that are late, or only those that aren't.")
    ] = None,
    parked: Annotated[
        bool | None,
        typer.Option("--parked/--not-parked", help="Only requests with a step that waits for a human, or without one."),
    ] = None,
    external_reference: Annotated[
        str | None,
        typer.Option("--reference", help="Only requests with this reference; each API key may have used it once."),
    ] = None,
    import_id: Annotated[UUID | None, typer.Option("--import", help="Only requests of this import.")] = None,
    respond_before: Annotated[
        str | None, typer.Option(help="Only requests to be answered before this instant (RFC 3339).")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """List requests, newest first."""
    query: Query = {
        "state": state and state.value,
        "reason": reason,
        "kind": kind,
        "regime": regime,
        "overdue": overdue,
        "parked": parked,
        "external_reference": external_reference,
        "import_id": None if import_id is None else str(import_id),
        "respond_before": respond_before,
        "limit": limit,
        "cursor": cursor,
    }
    with short_errors():
        page: RequestPageAnswer = Api(url, key_file).call("GET", "/v1/requests", query=query)
    if as_json:
        show_json(page)
        return
    _show_page(page)


def _show_page(page: RequestPageAnswer) -> None:
    rows = [
        (
            each["id"],
            standing(each),
            each["respond_by"],
            f"{each['steps_ended']}/{each['steps']}",
            each["steps_parked"] or "",
            each["external_reference"],
        )
        for each in page["requests"]
    ]
    show_table("requests", ("id", "state", "respond by", "ended", "parked", "reference"), rows)
    if page["next_cursor"]:
        note(f"more: --cursor {page['next_cursor']}")


@app.command()
def show(
    request_id: RequestId, url: Url = DEFAULT_URL, key_file: KeyFile = None, as_json: AsJson = False, wide: Wide = False
) -> None:
    """Show one request."""
    with short_errors():
        view: RequestAnswer = Api(url, key_file).call("GET", f"/v1/requests/{request_id}")
    show_view(view, as_json)


@app.command()
def lookup(
    identifier: Annotated[Path, typer.Option(help="JSON file (or -): {kind, value}")],
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """Find a person's requests by an identifier.

    Answers "did you delete me?": sealed requests are found, too, and whether the identifier is on the suppression list.
    """
    with short_errors():
        found: SubjectAnswer = Api(url, key_file).call(
            "POST", "/v1/requests/lookup", {"identifier": read_json(identifier)}
        )
    if as_json:
        show_json(found)
        return
    rows = [
        (each["id"], standing(each), each["received_at"], each["answered_at"], "yes" if each["sealed"] else "")
        for each in found["requests"]
    ]
    show_table("requests", ("id", "state", "received", "answered", "sealed"), rows)
    say("on the suppression list" if found["suppressed"] else "not on the suppression list")


app.command("review")(review)


@app.command()
def approve(
    request_id: RequestId,
    plan_hash: Annotated[str, typer.Option(help="The hash of the plan that you examined.")],
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """Approve a plan as the second person."""
    _decide(request_id, "approve", {"plan_hash": plan_hash}, url, key_file, as_json)


@app.command()
def deny(
    request_id: RequestId,
    reason: Annotated[DenialReason, typer.Option(help="The reason, as a code of the Data Rights Protocol.")],
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """Deny a request."""
    _decide(request_id, "deny", {"reason": reason.value}, url, key_file, as_json)


@app.command()
def revoke(
    request_id: RequestId, url: Url = DEFAULT_URL, key_file: KeyFile = None, as_json: AsJson = False, wide: Wide = False
) -> None:
    """Revoke a request at the data subject's wish."""
    _decide(request_id, "revoke", None, url, key_file, as_json)


@app.command()
def extend(
    request_id: RequestId,
    reason: Annotated[ExtensionReason, typer.Option(help="The reason of the extension.")],
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """Extend the deadline once, as the law allows."""
    _decide(request_id, "extend", {"reason": reason.value}, url, key_file, as_json)


@app.command()
def expedite(
    request_id: RequestId, url: Url = DEFAULT_URL, key_file: KeyFile = None, as_json: AsJson = False, wide: Wide = False
) -> None:
    """Mark a request as urgent: its steps run before all others."""
    _decide(request_id, "expedite", None, url, key_file, as_json)


@app.command()
def reveal(
    request_id: RequestId, url: Url = DEFAULT_URL, key_file: KeyFile = None, as_json: AsJson = False, wide: Wide = False
) -> None:
    """Show a request's identifiers in clear. Audited."""
    with short_errors():
        revealed: IdentityAnswer = Api(url, key_file).call("POST", f"/v1/requests/{request_id}/reveal")
    if as_json:
        show_json(revealed)
        return
    show_identity(revealed)


def _decide(
    request_id: UUID, verb: str, body: dict[str, str] | None, url: str, key_file: Path | None, as_json: bool
) -> None:
    with short_errors():
        view: RequestAnswer | RevokedAnswer = Api(url, key_file).call("POST", f"/v1/requests/{request_id}/{verb}", body)
    show_view(view, as_json)
