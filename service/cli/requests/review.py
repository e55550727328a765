"""`expunge request review`: decide each open doubt of a request, or link it to an earlier one.

Decides that nothing is decided by default: a terminal is asked doubt by doubt, and without a terminal the command is
refused as long as a doubt is undecided.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from service.cli.client import DEFAULT_URL, Api, KeyFile, Unusable, Url, read_json, short_errors
from service.cli.printing import AsJson, Wide, note
from service.cli.requests.answers import DoubtAnswer, RequestAnswer
from service.cli.requests.identity import Labels, labels, show_identity, worded
from service.cli.requests.show_view import show_view
from service.domain.identity.doubts import DoubtDecision


def review(
    request_id: Annotated[UUID, typer.Argument(help="The request's id.", show_default=False)],
    keep: Annotated[
        list[str] | None, typer.Option(help="The id of a doubt whose identifier or link is the person's.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="The id of a doubt whose identifier or link isn't the person's.")
    ] = None,
    doubts_version: Annotated[int | None, typer.Option(help="The version of the doubts that you examined.")] = None,
    drop_identifier: Annotated[
        list[UUID] | None, typer.Option(help="Id of a further identifier that isn't the person's.")
    ] = None,
    verify: Annotated[Path | None, typer.Option(help="JSON file (or -): [{id, method, verified_at}, ...]")] = None,
    link: Annotated[UUID | None, typer.Option(help="The same person's earlier request.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """Decide every open doubt of a request, or link it. On a terminal it shows the doubts and asks."""
    with short_errors():
        if link is not None and (keep or drop or drop_identifier or verify):
            raise Unusable("--link neither decides, drops nor verifies")
        api, path = Api(url, key_file), f"/v1/requests/{request_id}"
        body: dict[str, object] = {"decision": "link", "request_id": str(link)}
        if link is None:
            decisions = _given(keep or (), drop or ())
            decisions, version = _decided(api.call("GET", path), decisions, doubts_version, as_json)
            body = {
                "decision": "continue",
                "doubts_version": version,
                "decisions": [{"doubt": doubt, "decision": decision} for doubt, decision in decisions],
                "drop": [str(each) for each in drop_identifier or []],
                "verify": [] if verify is None else read_json(verify),
            }
        view: RequestAnswer = api.call("POST", f"{path}/review", body)
    show_view(view, as_json)


def _given(keep: Sequence[str], drop: Sequence[str]) -> list[tuple[str, str]]:
    """The decisions of the command line; doubled ones are the service's to refuse."""
    return [(each, DoubtDecision.KEEP.value) for each in keep] + [(each, DoubtDecision.DROP.value) for each in drop]


def _decided(
    view: RequestAnswer, given: list[tuple[str, str]], version: int | None, as_json: bool
) -> tuple[list[tuple[str, str]], int | None]:
    """Every decision, those that are asked on a terminal included, and the version they are about."""
    named = {doubt for doubt, _ in given}
    left = [doubt for doubt in view["doubts"] if doubt["id"] not in named]
    if _is_terminal() and left:
        if not as_json:
            show_identity(view)
        shown = labels(view)
        return [*given, *((doubt["id"], _ask(doubt, shown)) for doubt in left)], view["doubts_version"]
    if left or (view["doubts"] and version is None):
        raise Unusable("\n".join(_missing(view, left, version)))
    return given, version


def _missing(view: RequestAnswer, left: Sequence[DoubtAnswer], version: int | None) -> Iterator[str]:
    yield "every open doubt needs a decision and the version that you examined; `expunge request show`, then give:"
    for doubt in left:
        choices = " or ".join(f"--{word} {doubt['id']}" for word in doubt["allowed"])
        yield f"  {choices}"
    if version is None:
        yield f"  --doubts-version {view['doubts_version']}"


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _ask(doubt: DoubtAnswer, shown: Labels) -> str:
    if doubt["takes_second_person"]:
        note("To keep this needs a second person's approval.")
    question = f"{doubt['id']}: {worded(doubt, shown)}"
    choices = " or ".join(doubt["allowed"])
    while True:
        answer: str = typer.prompt(f"{question}; {choices}", err=True)
        if answer in doubt["allowed"]:
            return answer
        note(f"Type {choices}.")
