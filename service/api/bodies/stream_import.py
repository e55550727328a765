"""Accept an import while its body arrives, and send a verdict per line at the same time.

Decides that accepting never waits for the client to read the answer: most HTTP clients send the whole body before they
read, so the client and the service would wait for each other without end. Unread verdicts (numbers, ids and codes, no
personal data) are kept in memory, and beyond a megabyte in a temporary file. A line's verdict is sent after its commit.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.bodies.line_readers import LineReader, Unreadable
from service.api.bodies.split_lines import LineSplitter, RawLine
from service.api.dependencies import AppContext
from service.api.problems import FieldError, Problem, Trouble, problem_of, trouble_of
from service.domain.audit.schema import instant_text
from service.domain.requests.imports import MAX_LINES
from service.requests.imports.accept_rows import INTERNAL, Accepted, Line, LineRefusal, Verdict, accept_lines, fault
from service.requests.imports.begin import Import, receive_import

MEDIA_TYPE = "application/jsonl"
LINES_PER_SET = 500
_BYTES_PER_SET = 512 * 1024
# A sender that pauses learns what became of its lines so far.
_IDLE_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
_PIECE_BYTES = 64 * 1024
_MEMORY_BYTES = 1024 * 1024
# Of the problems that a single line may have.
_STATUS = MappingProxyType(
    {
        "malformed_json": 400,
        "reference_in_use": 409,
        "idempotency_conflict": 409,
        "sealed": 410,
        "too_large": 413,
        "validation": 422,
        "invalid": 422,
        "unknown_kind": 422,
        "kind_not_available": 422,
        INTERNAL: 500,
    }
)


class SenderGone(Exception):  # noqa: N818 - says what is true
    """The connection broke before the end of the body.

    Committed lines stay accepted; a repetition with the same key continues after them.
    """


class ArrivingLines:
    """The lines of a body, in sets, as they arrive."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._cutter = LineSplitter()
        self._waiting: list[RawLine] = []
        self._has_ended = False

    async def first(self) -> RawLine | None:
        """Return the first line that isn't empty, which `sets` yields again; None if there is none."""
        while True:
            while self._waiting and self._waiting[0].is_blank:
                del self._waiting[0]
            if self._waiting:
                return self._waiting[0]
            if self._has_ended:
                return None
            await self._read()

    def drop_first(self) -> None:
        """Remove the line that `first` returned."""
        del self._waiting[0]

    async def sets(self) -> AsyncIterator[list[RawLine]]:
        """Yield some hundred lines at a time, fewer when the sender pauses. Raises SenderGone."""
        while self._waiting or not self._has_ended:
            size = sum(len(line.content or b"") for line in self._waiting)
            if not self._has_ended and len(self._waiting) < LINES_PER_SET and size < _BYTES_PER_SET:
                with anyio.move_on_after(_IDLE_SECONDS if self._waiting else None):
                    await self._read()
                    continue
            taken, self._waiting = self._waiting[:LINES_PER_SET], self._waiting[LINES_PER_SET:]
            yield taken

    async def discard(self) -> None:
        """Read the rest of the body and ignore it, because a client that still sends reads no answer."""
        with anyio.move_on_after(_PATIENCE_SECONDS):
            while not self._has_ended:
                await self._read()
                self._waiting.clear()

    async def _read(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise SenderGone
        self._waiting += self._cutter.feed(message.get("body", b""))
        if not message.get("more_body", False):
            self._waiting += self._cutter.finish()
            self._has_ended = True


def _spool_file() -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)


@dataclass
class _Spool:
    """The answer written so far; it is sent as fast as the client reads."""

    file: tempfile.SpooledTemporaryFile[bytes] = field(default_factory=_spool_file)
    written: int = 0
    sent: int = 0
    is_whole: bool = False
    grown: anyio.Event = field(default_factory=anyio.Event)

    def write(self, lines: Sequence[dict[str, object]], *, last: bool = False) -> None:
        """Append lines and wake the sender of the answer."""
        self.file.seek(self.written)
        self.written += self.file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self.is_whole = last
        self.grown.set()
        self.grown = anyio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the answer from its beginning to its end."""
        while True:
            while self.sent < self.written:
                self.file.seek(self.sent)
                piece = self.file.read(_PIECE_BYTES)
                self.sent += len(piece)
                yield piece
            if self.is_whole:
                return
            await self.grown.wait()


class ImportAnswer(Response):
    """202 and a stream of verdicts; the last line says whether the whole body was read."""

    def __init__(
        self, context: AppContext, importing: Import, reader: LineReader, arriving: ArrivingLines, *, shows_links: bool
    ) -> None:
        """Prepare the answer; without `shows_links` a duplicate line is shown as `accepted`.

        Such a sender may not learn that another key has an open request about the person.
        """
        super().__init__(status_code=202, media_type=MEDIA_TYPE, headers={"Location": f"/v1/imports/{importing.id}"})
        del self.headers["content-length"]
        self._context = context
        self._import = importing
        self._reader = reader
        self._arriving = arriving
        self._shows_links = shows_links
        self._counts: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept lines and send the answer at the same time."""
        spool = _Spool()
        failure: list[Exception] = []

        async def take_in() -> None:
            try:
                await self._take_in(spool)
                problem = None
            except SenderGone:
                problem = problem_of(Trouble(400, "cut_off"))
            except Exception as error:  # noqa: BLE001 - the answer has begun: said in its last line, raised behind it
                trouble = _trouble_of(error)
                problem = problem_of(trouble)
                if trouble.status == 500:
                    failure.append(error)
                with suppress(SenderGone):
                    await self._arriving.discard()
            spool.write([self._last_line(problem)], last=True)

        with spool.file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take_in)
                async for piece in spool.pieces():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        for error in failure:
            raise error

    async def _take_in(self, spool: _Spool) -> None:
        async for raws in self._arriving.sets():
            verdicts = await run_in_threadpool(self._accept, raws)
            self._counts += Counter(_word(self._visible(verdict)) for verdict in verdicts)
            self._context.metrics.took_in(Counter(map(_word, verdicts)))
            spool.write([_shown(self._visible(verdict)) for verdict in verdicts])
        self._reader.finish()
        counts = self._counts
        await run_in_threadpool(
            receive_import,
            self._context.stores,
            self._import,
            lines=counts.total(),
            accepted=counts.total() - counts["refused"],
            refused=counts["refused"],
        )

    def _accept(self, raws: Sequence[RawLine]) -> list[Verdict]:
        lines = [line for raw in raws if (line := self._read(raw)) is not None]
        if self._counts.total() + len(lines) > MAX_LINES:
            raise Trouble(413, "too_large", f"at most {MAX_LINES} lines; the last {LINES_PER_SET} were not accepted")
        return accept_lines(self._context.stores, self._context.settings, self._import, lines) if lines else []

    def _read(self, raw: RawLine) -> Line | None:
        try:
            return self._reader.take(raw)
        except (Trouble, Unreadable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this line's and not the others'
            return Line(raw.number, fault(self._import, raw.number, error))

    def _visible(self, verdict: Verdict) -> Verdict:
        if self._shows_links or isinstance(verdict.result, LineRefusal):
            return verdict
        return replace(verdict, result=replace(verdict.result, duplicate_of=None))

    def _last_line(self, problem: Problem | None) -> dict[str, object]:
        words = {word: self._counts[word] for word in ("accepted", "duplicate", "replayed", "refused")}
        return {
            "import": str(self._import.id),
            "complete": problem is None,
            "lines": self._counts.total(),
            **words,
            "problem": None if problem is None else problem.model_dump(),
        }


def _word(verdict: Verdict) -> str:
    if isinstance(verdict.result, LineRefusal):
        return "refused"
    if verdict.result.replayed:
        return "replayed"
    return "duplicate" if verdict.result.duplicate_of else "accepted"


def _shown(verdict: Verdict) -> dict[str, object]:
    result = verdict.result
    shown: dict[str, object] = {"line": verdict.line, "status": _word(verdict)}
    if isinstance(result, Accepted):
        return shown | {
            "id": str(result.request_id),
            "respond_by": instant_text(result.respond_by),
            "duplicate_of": None if result.duplicate_of is None else str(result.duplicate_of),
        }
    errors = [FieldError.of(problem) for problem in result.errors]
    trouble = Trouble(_STATUS[result.code], result.code, errors=errors)
    return shown | {"problem": problem_of(trouble).model_dump()}


def _trouble_of(error: Exception) -> Trouble:
    if isinstance(error, Unreadable):
        at = FieldError(field=f"/lines/{error.line}", reason=error.reason)
        return Trouble(422, "invalid", errors=[at])
    return trouble_of(error)
