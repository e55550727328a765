"""`expunge request import` and `expunge imports`: submit and manage the requests of a file.

Decides that a broken connection is gone on with by itself: the same file is sent again under the same key, which gives
the same requests. The file is streamed, never held, and its content is never shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer

from service.cli.client import (
    DEFAULT_URL,
    EXIT_REFUSED,
    Api,
    Broken,
    Cursor,
    KeyFile,
    Limit,
    Unusable,
    Url,
    short_errors,
    worded_error,
)
from service.cli.groups import command_group
from service.cli.printing import AsJson, Wide, ask, can_ask, note, say, show_json, show_json_line, show_table
from service.cli.requests.answers import (
    ImportAnswer,
    ImportEndAnswer,
    ImportPageAnswer,
    RefusedPageAnswer,
    VerdictAnswer,
)
from service.domain.requests.imports import ImportFormat
from service.domain.requests.states import UNFINISHED

app = command_group("imports", "List, show, pause, resume and cancel imports.")
ImportId = Annotated[UUID, typer.Argument(help="The import's id.", show_default=False)]
_MEDIA_TYPES = {ImportFormat.JSONL: "application/jsonl", ImportFormat.CSV: "text/csv"}
_TRIES = 5
_FIRST_PAUSE_SECONDS = 1.0
_PIECE_BYTES = 64 * 1024


def import_requests(
    file: Annotated[Path, typer.Argument(help="Lines of JSON, or CSV with a header.", show_default=False)],
    form: Annotated[ImportFormat | None, typer.Option("--format", help="Default: by the file's ending.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Key of an import to continue.")] = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Submit the requests of a file.

    Prints the refused lines with the reasons; with --json, the verdict of every line as it arrives.
    """
    with short_errors():
        api, key = Api(url, key_file), idempotency_key or uuid4().hex
        media_type = _MEDIA_TYPES[form or _format_of(file)]
        note(f"import key {key}: repeat with --idempotency-key {key} to continue")
        last = _sent(api, file, key, media_type, show_json_line if as_json else _print_refusal)
    if not as_json:
        fresh = f"{last['accepted']} accepted, {last['duplicate']} duplicate"
        counts = f"{fresh}, {last['replayed']} replayed, {last['refused']} refused"
        say(f"import {last['import']}: {last['lines']} lines, {counts}")
    problem = last["problem"]
    if problem is not None:
        note(f"not complete: {problem['code']}: {problem['detail'] or problem['title']}")
        for error in problem["errors"]:
            note(f"  {worded_error(error)}")
    if last["refused"] or not last["complete"]:
        raise typer.Exit(EXIT_REFUSED)


def _sent(api: Api, file: Path, key: str, media_type: str, show: Callable[[VerdictAnswer], None]) -> ImportEndAnswer:
    """Return the answer's last line. A verdict that was shown before isn't shown again."""
    told = 0
    for left in reversed(range(_TRIES)):
        last: ImportEndAnswer | None = None
        try:
            with closing(_answer(api, file, key, media_type)) as answer:
                for each in answer:
                    if "complete" in each:
                        last = each
                    elif each["line"] > told:
                        show(each)
                        told = each["line"]
        except Broken as broken:
            if not broken.was_connected and not told:
                raise Unusable("can't ask the API; is --url right?") from None
            if not left:
                raise Unusable(f"the connection broke {_TRIES} times: {broken}; the same command goes on") from None
        problem = None if last is None else last["problem"]
        if last is not None and (problem is None or problem["code"] != "unavailable" or not left):
            return last
        time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (_TRIES - 1 - left))
    raise Unusable("the answer had no end; the same command goes on")


def _answer(api: Api, file: Path, key: str, media_type: str) -> Generator[VerdictAnswer | ImportEndAnswer, None, None]:
    headers = {"Idempotency-Key": key, "Content-Type": media_type}
    for line in api.stream("POST", "/v1/requests/batch", _pieces(file), headers=headers):
        yield api.parsed(line)


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise Unusable(f"can't read {path.name}: {error.strerror}") from None


def _format_of(path: Path) -> ImportFormat:
    known = {".jsonl": ImportFormat.JSONL, ".ndjson": ImportFormat.JSONL, ".csv": ImportFormat.CSV}
    if path.suffix.lower() not in known:
        raise Unusable("the file's ending doesn't say its format: give --format")
    return known[path.suffix.lower()]


def _print_refusal(verdict: VerdictAnswer) -> None:
    if verdict["status"] == "refused":
        problem = verdict["problem"]
        why = "; ".join(map(worded_error, problem["errors"]))
        say(f"line {verdict['line']} refused: {problem['code']}: {why}")


@app.command("list")
def list_page(
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """List imports, newest first."""
    with short_errors():
        page: ImportPageAnswer = Api(url, key_file).call("GET", "/v1/imports", query={"limit": limit, "cursor": cursor})
    if as_json:
        show_json(page)
        return
    rows = [
        (each["id"], each["state"], each["format"], each["created_at"], each["received_at"], each["accepted"])
        for each in page["imports"]
    ]
    show_table("imports", ("id", "state", "format", "begun", "received whole", "accepted"), rows)
    if page["next_cursor"]:
        note(f"more: --cursor {page['next_cursor']}")


@app.command()
def show(
    import_id: ImportId, url: Url = DEFAULT_URL, key_file: KeyFile = None, as_json: AsJson = False, wide: Wide = False
) -> None:
    """Show one import.

    Its requests are counted by state; its first 50 refused lines follow.
    """
    with short_errors():
        api = Api(url, key_file)
        view: ImportAnswer = api.call("GET", f"/v1/imports/{import_id}")
        refused: RefusedPageAnswer = api.call("GET", f"/v1/imports/{import_id}/refused", query={"limit": 50})
    if as_json:
        show_json({**view, "refused_lines": refused["lines"]})
        return
    _show(view)
    lines: list[tuple[object, ...]] = [
        (each["line"], each["code"], "; ".join(map(worded_error, each["errors"]))) for each in refused["lines"]
    ]
    if lines:
        show_table(f"refused lines ({len(lines)} of {view['refused']})", ("line", "code", "why"), lines)


@app.command()
def pause(
    import_id: ImportId, url: Url = DEFAULT_URL, key_file: KeyFile = None, as_json: AsJson = False, wide: Wide = False
) -> None:
    """Pause an import.

    The work on its requests stops; their deadlines stay.
    """
    _steer(import_id, "pause", url, key_file, as_json)


@app.command()
def resume(
    import_id: ImportId, url: Url = DEFAULT_URL, key_file: KeyFile = None, as_json: AsJson = False, wide: Wide = False
) -> None:
    """Resume a paused import."""
    _steer(import_id, "resume", url, key_file, as_json)


@app.command()
def cancel(
    import_id: ImportId,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    url: Url = DEFAULT_URL,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> None:
    """Cancel an import for good.

    Revokes each of its requests that hasn't ended. Asks before it does so; without a terminal to ask on, --yes is
    needed.
    """
    with short_errors():
        api = Api(url, key_file)
        if not yes:
            _ask_to_cancel(api.call("GET", f"/v1/imports/{import_id}"))
    _steer(import_id, "cancel", url, key_file, as_json)


def _ask_to_cancel(view: ImportAnswer) -> None:
    """Raise Unusable without a terminal; end the command with 1 if the answer is no."""
    unfinished = sum(each["requests"] for each in view["requests"] if each["state"] in UNFINISHED)
    consequence = f"cancelling revokes {unfinished} unfinished requests of this import and can't be undone"
    if not can_ask():
        raise Unusable(f"{consequence}: give --yes, because there is no terminal to ask on")
    if not ask(f"{consequence}. Cancel it?"):
        note("not cancelled")
        raise typer.Exit(EXIT_REFUSED)


def _steer(import_id: UUID, verb: str, url: str, key_file: Path | None, as_json: bool) -> None:
    with short_errors():
        view: ImportAnswer = Api(url, key_file).call("POST", f"/v1/imports/{import_id}/{verb}")
    if as_json:
        show_json(view)
        return
    _show(view)


def _show(view: ImportAnswer) -> None:
    whole = view["received_at"] or "not whole yet"
    say(f"{view['id']}  {view['format']}, {view['state']}: {view['accepted']} accepted, received {whole}")
    if "requests" not in view:
        return  # the key may not read requests
    rows = [(each["state"], each["reason"], each["requests"]) for each in view["requests"]]
    show_table("requests", ("state", "reason", "requests"), rows)
    if view["overdue"]:
        say(f"OVERDUE: {view['overdue']}")
