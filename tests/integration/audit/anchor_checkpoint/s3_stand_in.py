"""A strict stand-in of a bucket with object lock, over HTTP on this machine: what S3 refuses, it refuses.

Written from Amazon's API reference as botocore 1.44 carries it (PutObject, GetObject, HeadObject, DeleteObject,
ListObjectVersions) and the user guide's "Object Lock considerations" and "conditional writes" (read 2026-11-22), not
run against the real thing. It checks that the body's hash and checksum are those that the headers say and which access
key signed, not the signature itself.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

ACCESS_KEY, SECRET_KEY = "AKIAEXAMPLE", "not-a-secret"


@dataclass
class Version:
    id: str
    body: bytes | None
    mode: str | None = None
    until: datetime | None = None

    @property
    def is_marker(self) -> bool:
        return self.body is None


@dataclass
class Bucket:
    """`forgets_lock` and `unversioned` are stores that take the headers and don't do what they say."""

    name: str = "heads"
    has_lock: bool = True
    forgets_lock: bool = False
    unversioned: bool = False
    refuses: int | None = None
    page: int = 3
    marks_next: bool = False
    """Whether a page's marker is the first version that isn't in it, as the reference says, or the last that is."""
    url: str = ""
    calls: list[str] = field(default_factory=list)
    objects: dict[str, list[Version]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keys(self) -> list[str]:
        return sorted(self.objects)

    def put(self, key: str, body: bytes, headers: Any) -> tuple[int, str, dict[str, str]]:
        sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD") not in (
            "UNSIGNED-PAYLOAD",
            hashlib.sha256(body).hexdigest(),
        ):
            return 400, "XAmzContentSHA256Mismatch", {}
        if headers.get("x-amz-checksum-sha256", sha256) != sha256:
            return 400, "BadDigest", {}
        if headers.get("x-amz-sdk-checksum-algorithm") and not headers.get("x-amz-checksum-sha256"):
            return 400, "InvalidRequest", {}
        condition = headers.get("If-None-Match")
        if condition not in (None, "*"):
            return 501, "NotImplemented", {}
        versions = self.objects.get(key, [])
        if condition == "*" and versions and not versions[-1].is_marker:
            return 412, "PreconditionFailed", {}
        made = Version(f"v{sum(map(len, self.objects.values())) + 1:06d}", body)
        mode, until = headers.get("x-amz-object-lock-mode"), headers.get("x-amz-object-lock-retain-until-date")
        if mode or until:
            checked = headers.get("Content-MD5") or headers.get("x-amz-sdk-checksum-algorithm")
            if not self.has_lock or not checked or mode not in ("COMPLIANCE", "GOVERNANCE") or not until:
                return 400, "InvalidRequest", {}
            made.mode, made.until = mode, datetime.fromisoformat(until)
            if made.until <= datetime.now(UTC):
                return 400, "InvalidArgument", {}
            if self.forgets_lock:
                made.mode = made.until = None
        self.objects.setdefault(key, []).append(made)
        return 200, "", {} if self.unversioned else {"x-amz-version-id": made.id}

    def delete(self, key: str, version: str | None) -> tuple[int, str, dict[str, str]]:
        """Without a version only a marker is put on top, lock or not; a locked version itself stays."""
        if version is None:
            marker = Version(f"v{sum(map(len, self.objects.values())) + 1:06d}", None)
            self.objects.setdefault(key, []).append(marker)
            return 204, "", {}
        found = self.find(key, version)
        if found is not None and found.until is not None and found.until > datetime.now(UTC):
            return 403, "AccessDenied", {}
        self.objects[key] = [each for each in self.objects[key] if each.id != version]
        return 204, "", {}

    def find(self, key: str, version: str | None) -> Version | None:
        versions = self.objects.get(key, [])
        if version is None:
            return versions[-1] if versions and not versions[-1].is_marker else None
        return next((each for each in versions if each.id == version and not each.is_marker), None)

    def listing(self, query: dict[str, str]) -> str:
        prefix, after = query.get("prefix", ""), (query.get("key-marker", ""), query.get("version-id-marker", ""))
        rows = [
            (key, each, index == 0)
            for key in self.keys()
            if key.startswith(prefix)
            for index, each in enumerate(reversed(self.objects[key]))
        ]
        if after[0]:
            places = [(key, each.id) for key, each, _ in rows]
            rows = rows[places.index(after) + (0 if self.marks_next else 1) :]
        shown, more = rows[: self.page], len(rows) > self.page
        marks = ""
        if more:
            key, each, _ = rows[self.page] if self.marks_next else shown[-1]
            marks = f"<NextKeyMarker>{escape(key)}</NextKeyMarker><NextVersionIdMarker>{each.id}</NextVersionIdMarker>"
        items = "".join(
            f"<{tag}><Key>{escape(key)}</Key><VersionId>{each.id}</VersionId>"
            f"<IsLatest>{str(latest).lower()}</IsLatest><LastModified>2026-11-22T12:00:00.000Z</LastModified></{tag}>"
            for key, each, latest in shown
            for tag in ["DeleteMarker" if each.is_marker else "Version"]
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{self.name}</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{marks}{items}</ListVersionsResult>"
        )


@contextmanager
def serving(bucket: Bucket) -> Iterator[Bucket]:
    """The bucket on a free port of this machine; `bucket.url` is its endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            name, _, key = unquote(parts.path).lstrip("/").partition("/")
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            with bucket.lock:
                bucket.calls.append(f"{self.command} {key}")
                self._answer(name, key, query, body)

        def _answer(self, name: str, key: str, query: dict[str, str], body: bytes) -> None:
            if f"Credential={ACCESS_KEY}/" not in self.headers.get("Authorization", ""):
                return self._error(403, "InvalidAccessKeyId")
            if bucket.refuses is not None:
                return self._error(bucket.refuses, "ServiceUnavailable")
            if name != bucket.name:
                return self._error(404, "NoSuchBucket")
            if self.command == "PUT" and not query.keys() - {"x-id"}:
                return self._done(*bucket.put(key, body, self.headers))
            if self.command == "DELETE":
                return self._done(*bucket.delete(key, query.get("versionId")))
            if self.command == "GET" and not key and "versions" in query:
                return self._send(200, bucket.listing(query).encode(), {"Content-Type": "application/xml"})
            if self.command in ("GET", "HEAD") and key:
                return self._object(bucket.find(key, query.get("versionId")))
            return self._error(501, "NotImplemented")

        def _object(self, found: Version | None) -> None:
            if found is None or found.body is None:
                return self._error(404, "NoSuchKey")
            headers = {"x-amz-version-id": found.id, "Last-Modified": format_datetime(datetime.now(UTC), usegmt=True)}
            if found.until is not None:
                headers["x-amz-object-lock-mode"] = str(found.mode)
                headers["x-amz-object-lock-retain-until-date"] = found.until.isoformat().replace("+00:00", "Z")
            self._send(200, found.body, headers)
            return None

        def _done(self, status: int, code: str, headers: dict[str, str]) -> None:
            if code:
                self._error(status, code)
            else:
                self._send(status, b"", headers)

        def _error(self, status: int, code: str) -> None:
            text = f"<Error><Code>{code}</Code><Message>ada@example.test was refused</Message></Error>"
            self._send(status, text.encode(), {"Content-Type": "application/xml"})

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for header, value in headers.items():
                self.send_header(header, value)
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = _serve  # noqa: N815 - the base class's names

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    bucket.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
