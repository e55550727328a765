"""How commands speak to the API: one call, and what a person is told when it isn't answered as hoped.

Decides where URL and key come from, and the exit codes: 1 if the service refused, 2 if it couldn't be asked. Neither a
key nor an identifier is ever taken from the command line: other users of the machine see it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

EXIT_REFUSED, EXIT_UNUSABLE = 1, 2
KEY_VARIABLE = "EXPUNGE_API_KEY"
_TIMEOUT_SECONDS = 60.0
_LARGEST_FILE_BYTES = 1024 * 1024

Url = Annotated[str, typer.Option("--url", envvar="EXPUNGE_URL", help="Where the API is.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help=f"File with the API key; without it {KEY_VARIABLE} is read.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what the API answered.")]
DEFAULT_URL = "http://127.0.0.1:8080"


class Unusable(Exception):  # noqa: N818 - says what is true
    """The command can't be carried out as given, or the service can't be asked."""


class Refused(Exception):  # noqa: N818 - says what is true
    """The service refused. The text is its problem, which repeats nothing that was sent."""


class Broken(Exception):  # noqa: N818 - says what is true
    """The connection ended before the answer did, or there was none."""

    def __init__(self, kind: str, *, was_connected: bool) -> None:
        super().__init__(kind)
        self.was_connected = was_connected


class Api:
    """The API of one installation, with one key."""

    def __init__(self, url: str, key_file: Path | None) -> None:
        self._url = url.rstrip("/")
        self._key = _read_key(key_file)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer's JSON. Raises Refused, Unusable."""
        return self.fetch(method, path, body, query=query, headers=headers).json()

    def fetch(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer as it came. Raises Refused, Unusable."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            answer = httpx.request(
                method,
                f"{self._url}{path}",
                json=body,
                params=given,
                headers={"Authorization": f"Bearer {self._key}", **(headers or {})},
                timeout=_TIMEOUT_SECONDS,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unusable(f"can't ask the API ({type(error).__name__}); is --url right?") from None
        if answer.is_success:
            return answer
        raise Refused(_worded(answer))

    def stream(self, method: str, path: str, body: Iterator[bytes], *, headers: Mapping[str, str]) -> Iterator[str]:
        """The answer's lines as they come. Raises Refused, and Broken where it ends before its end."""
        try:
            with httpx.stream(
                method,
                f"{self._url}{path}",
                content=body,
                headers={"Authorization": f"Bearer {self._key}", **headers},
                timeout=_TIMEOUT_SECONDS,
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise Refused(_worded(answer))
                yield from answer.iter_lines()
        except httpx.InvalidURL:
            raise Unusable("can't ask the API; is --url right?") from None
        except httpx.HTTPError as error:
            raise Broken(type(error).__name__, was_connected=not isinstance(error, httpx.ConnectError)) from None


def _worded(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        lines = [f"{problem['status']} {problem['code']}: {problem['detail'] or problem['title']}"]
        lines += [f"  {error['field'] or '(whole)'}: {error['reason']}" for error in problem["errors"]]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}, not from this API"
    return "\n".join(lines)


def _read_key(path: Path | None) -> str:
    key = os.environ.get(KEY_VARIABLE, "") if path is None else read_file(path).strip()
    if not key or not key.isascii() or not key.isprintable():
        raise Unusable(f"no API key: give --key-file or set {KEY_VARIABLE}")
    return key


def read_file(path: Path) -> str:
    """A small text file, or standard input for `-`. Raises Unusable."""
    try:
        raw = sys.stdin.buffer.read(_LARGEST_FILE_BYTES + 1) if str(path) == "-" else path.read_bytes()
        if len(raw) > _LARGEST_FILE_BYTES:
            raise Unusable("the file is too large")
        return raw.decode("utf-8")
    except OSError as error:
        raise Unusable(f"can't read {path.name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{path.name} isn't UTF-8") from None


def read_json(path: Path) -> Any:
    """The JSON value in a file. Raises Unusable, which repeats nothing of it."""
    try:
        return json.loads(read_file(path))
    except (ValueError, RecursionError):
        raise Unusable("the file isn't JSON") from None


@contextmanager
def short_errors() -> Iterator[None]:
    """Turns Refused and Unusable into short text on standard error and their exit codes."""
    try:
        yield
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        raise typer.Exit(EXIT_REFUSED) from None
    except Unusable as unusable:
        sys.stderr.write(f"{unusable}\n")
        raise typer.Exit(EXIT_UNUSABLE) from None


def show_json(document: Any) -> None:
    """Print a document for programs."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def show_table(title: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Print rows for people; None is an empty cell."""
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console().print(table)


def console() -> Console:
    """Standard output without markup: what the service answers is text, not formatting."""
    return Console(markup=False, highlight=False)
