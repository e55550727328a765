"""Keep heads with an RFC 3161 time-stamp, a third party's statement of their time, in a directory.

The authority stores nothing that could be requested later, so note and token are files, `<number>.note` and
`<number>.tsr`. The pair with the highest number counts, and only if its token verifies over its note. Mount the
directory from another machine, as for the file anchor. The authority receives a hash of the note.

Source: RFC 3161 §2.4 and §3.4 (read 2026-11-22); tokens are verified by rfc3161-client under the configured roots.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import httpx
from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimeStampRequest,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from connectors.base.outbound.client import open_client
from connectors.base.outbound.services import open_service_client
from connectors.base.outbound.transport import BODY_LIMIT
from service.domain.audit.anchor import AnchorUnreachable, Conflict, SignedHead, SignedLog, compare_with

_PATIENCE_SECONDS = 20.0
_LONGEST_TOKEN_BYTES = 256 * 1024


class TimestampAnchor:
    """A time-stamping authority and the directory of its tokens. `roots` are the trusted certificates."""

    def __init__(
        self,
        name: str,
        directory: Path,
        url: str,
        roots: list[x509.Certificate],
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._name = name
        self._directory = directory
        self._url = url
        self._roots = roots
        # Its answers are signed, so that it may be called without TLS, as most authorities are.
        self._client = (
            open_service_client(url, _PATIENCE_SECONDS, allow_plain_http=True)
            if transport is None
            else open_client(transport)
        )

    @property
    def name(self) -> str:
        """The anchor's configured name."""
        return self._name

    def compare(self, log: SignedLog) -> Conflict | None:
        """Where the store disagrees with the newest stamped head. Raises AnchorUnreachable."""
        return compare_with(self._name, self.last_note, log)

    def last_note(self) -> str | None:
        """Return the newest stamped note. A note whose token doesn't verify is skipped.

        Raises AnchorUnreachable.
        """
        number = self._newest_number()
        if number == 0:
            return None
        note, token = self._read(number)
        return note.decode("utf-8", "replace") if self._is_stamped(note, token, None) else ""

    def publish(self, head: SignedHead, log: SignedLog, *, over: bool = False) -> None:
        """Have the note stamped and keep both. Raises AnchorUnreachable."""
        number = self._newest_number()
        note = head.note.encode()
        if number and self._read(number)[0] == note:
            return
        request = TimestampRequestBuilder().data(note).hash_algorithm(HashAlgorithm.SHA256).build()
        token = self._ask(request.as_bytes())
        if not self._is_stamped(note, token, request):
            raise AnchorUnreachable("timestamp_token_refused")
        try:
            # The token last: a note without one was never stamped, and its number is taken again.
            self._write(self._path(number + 1, "note"), note)
            self._write(self._path(number + 1, "tsr"), token)
        except OSError as error:
            raise AnchorUnreachable(f"timestamp_{type(error).__name__}".lower()) from None

    def _ask(self, request: bytes) -> bytes:
        headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
        try:
            answer = self._client.post(
                self._url, content=request, headers=headers, extensions={BODY_LIMIT: _LONGEST_TOKEN_BYTES}
            )
        except httpx.HTTPError as error:
            raise AnchorUnreachable(f"timestamp_{type(error).__name__}".lower()) from None
        if answer.status_code != 200 or len(answer.content) > _LONGEST_TOKEN_BYTES:
            raise AnchorUnreachable(f"timestamp_status_{answer.status_code}")
        return answer.content

    def _is_stamped(self, note: bytes, token: bytes, request: TimeStampRequest | None) -> bool:
        builder = VerifierBuilder() if request is None else VerifierBuilder.from_request(request)
        for root in self._roots:
            builder = builder.add_root_certificate(root)
        try:
            return builder.build().verify(decode_timestamp_response(token), hashlib.sha256(note).digest())
        except (VerificationError, ValueError):
            return False

    def _newest_number(self) -> int:
        try:
            return max((int(path.stem) for path in self._directory.glob("[0-9]*.tsr")), default=0)
        except (OSError, ValueError):
            raise AnchorUnreachable("timestamp_directory") from None

    def _read(self, number: int) -> tuple[bytes, bytes]:
        try:
            return self._path(number, "note").read_bytes(), self._path(number, "tsr").read_bytes()
        except OSError as error:
            raise AnchorUnreachable(f"timestamp_{type(error).__name__}".lower()) from None

    def _path(self, number: int, kind: str) -> Path:
        return self._directory / f"{number:012d}.{kind}"

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
