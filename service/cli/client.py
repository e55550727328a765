"""Call the API for a command, and print errors as text.

Decides where URL and key come from, and the exit codes: 1 if the service refused (its 4xx problems), 2 if it couldn't
be asked (no connection, a 5xx problem, an answer that isn't this API's). Neither a key nor an identifier is ever taken
from the command line, because other users of the machine see it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeAlias
from urllib.parse import urlsplit

import httpx
import typer

from service.cli.printing import note
from service.cli.requests.answers import FieldErrorAnswer

EXIT_REFUSED, EXIT_UNUSABLE = 1, 2
KEY_VARIABLE = "EXPUNGE_API_KEY"
_TIMEOUT_SECONDS = 60.0
_LARGEST_FILE_BYTES = 1024 * 1024

Url = Annotated[
    str, typer.Option("--url", envvar="EXPUNGE_URL", help="Where the API is, such as https://expunge.example.")
]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help=f"File with the API key; without it {KEY_VARIABLE} is read.")
]
Limit = Annotated[int, typer.Option(min=1, max=200, help="The most rows to print.")]
Cursor = Annotated[
    str | None, typer.Option(help="Continue after this place: the cursor that the previous page printed.")
]
# The caller names the type (service.cli.requests.answers); reading an absent member raises Unusable.
Answer: TypeAlias = Any
Query: TypeAlias = Mapping[str, str | int | bool | None]
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


class _Answer(dict[str, object]):
    """An object in an answer. A member that isn't there means that something else than Expunge answered."""

    def __missing__(self, key: str) -> NoReturn:
        raise Unusable(f"the answer has no {key!r}: is --url an Expunge of this version?")


class Api:
    """The API of one installation, with one key. Raises Unusable for a URL or a key that can't be used."""

    def __init__(self, url: str, key_file: Path | None) -> None:
        self._url = _checked_url(url)
        self._key = _read_key(key_file)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the object that the API answered. Raises Refused, Unusable."""
        return self.parsed(self.fetch(method, path, body, query=query, headers=headers).text)

    def fetch(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Return the unparsed answer. Raises Refused, Unusable."""
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
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        except _CLIENT_CANNOT_START as error:
            raise self._not_started(error) from None
        _check_success(answer)
        return answer

    def stream(self, method: str, path: str, body: Iterator[bytes], *, headers: Mapping[str, str]) -> Iterator[str]:
        """Yield the answer's lines as they arrive. Raises Refused, Unusable, and Broken for a cut-off answer."""
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
                    _check_success(answer)
                yield from answer.iter_lines()
        except httpx.HTTPError as error:
            raise Broken(type(error).__name__, was_connected=not isinstance(error, httpx.ConnectError)) from None
        except _CLIENT_CANNOT_START as error:
            raise self._not_started(error) from None

    def parsed(self, answer: str) -> Answer:
        """Return the JSON object of an answer or of a line of one. Raises Unusable for anything else."""
        try:
            document = json.loads(answer, object_hook=_Answer)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Unusable(f"{self._url} answered, but not with a JSON object: is --url an Expunge?")
        return document

    def _unreachable(self, error: httpx.HTTPError) -> Unusable:
        if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
            return Unusable(f"can't connect to {self._url} ({type(error).__name__}): is it up, and is --url right?")
        if isinstance(error, httpx.TimeoutException):
            return Unusable(f"{self._url} didn't answer in {_TIMEOUT_SECONDS:.0f} seconds; the command may be repeated")
        return Unusable(f"the connection to {self._url} failed ({type(error).__name__}): is --url right?")

    def _not_started(self, error: Exception) -> Unusable:
        hint = "are the environment's proxy and certificate settings right?"
        return Unusable(f"can't ask {self._url} ({type(error).__name__}): {hint}")


# A proxy's address of unknown form, a missing package for a SOCKS proxy, a file of certificates that isn't there.
_CLIENT_CANNOT_START = (ValueError, ImportError, OSError, httpx.InvalidURL)


def _checked_url(text: str) -> str:
    try:
        url = urlsplit(text)
        # Reading the port checks it.
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
        usable = usable and text.isprintable() and not ("@" in url.netloc or url.query or url.fragment)
    except ValueError:
        usable = False
    if not usable:
        raise Unusable("--url: give the API's address as http://host:port or https://host, without user, query or #")
    return text.rstrip("/")


def _check_success(answer: httpx.Response) -> None:
    """Raises Refused where the service refused; Unusable where it couldn't answer, or something else did."""
    if answer.is_success:
        return
    worded = _worded(answer)
    if worded is None:
        hint = "is --url right, and does every proxy in between work?"
        raise Unusable(f"HTTP {answer.status_code}, and the answer isn't from Expunge: {hint}")
    pause = answer.headers.get("retry-after", "")
    if pause.isascii() and pause.isdigit():
        worded += f"\n  try again in {pause} seconds"
    if answer.status_code >= 500:
        raise Unusable(worded)
    raise Refused(worded)


def _worded(answer: httpx.Response) -> str | None:
    """The problem in words, or None if the answer isn't one of this API's problems."""
    try:
        problem = answer.json()
        lines = [f"{problem['status']} {problem['code']}: {problem['detail'] or problem['title']}"]
        lines += [f"  {worded_error(error)}" for error in problem["errors"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return "\n".join(lines)


def worded_error(error: FieldErrorAnswer) -> str:
    """One of a problem's errors: where, why, and what is allowed there."""
    words = f"{error['field'] or '(whole)'}: {error['reason']}"
    if error.get("did_you_mean"):
        return f"{words}; did you mean {error['did_you_mean']}?"
    if allowed := error.get("allowed"):
        return f"{words}; allowed: {', '.join(allowed)}"
    return f"{words}; expected: {error['expected']}" if error.get("expected") else words


def _read_key(path: Path | None) -> str:
    key = os.environ.get(KEY_VARIABLE, "") if path is None else read_file(path).strip()
    if not key:
        where = f"give --key-file or set {KEY_VARIABLE}" if path is None else f"{path.name} is empty"
        raise Unusable(f"no API key: {where}")
    if not key.isascii() or not key.isprintable() or " " in key:
        where = KEY_VARIABLE if path is None else path.name
        raise Unusable(f"{where} holds no API key: expected one line, as `expunge keys create` prints it")
    return key


def read_file(path: Path) -> str:
    """Return a small text file, or standard input for `-`. Raises Unusable."""
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(_LARGEST_FILE_BYTES + 1)
        else:
            with path.open("rb") as file:
                raw = file.read(_LARGEST_FILE_BYTES + 1)
        if len(raw) > _LARGEST_FILE_BYTES:
            raise Unusable(f"{path.name} is too large: at most {_LARGEST_FILE_BYTES} bytes")
        return raw.decode("utf-8")
    except OSError as error:
        raise Unusable(f"can't read {path.name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable(f"{path.name} isn't UTF-8") from None


def read_json(path: Path) -> object:
    """Return the JSON value in a file. Raises Unusable, which repeats nothing of it."""
    try:
        value: object = json.loads(read_file(path))
    except (ValueError, RecursionError):
        raise Unusable(f"{path.name} isn't JSON") from None
    return value


@contextmanager
def short_errors() -> Iterator[None]:
    """Turns Refused and Unusable into short text on standard error and their exit codes."""
    try:
        yield
    except Refused as refused:
        note(str(refused))
        raise typer.Exit(EXIT_REFUSED) from None
    except Unusable as unusable:
        note(str(unusable))
        raise typer.Exit(EXIT_UNUSABLE) from None
