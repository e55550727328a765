"""Keep heads in a bucket with object lock.

In compliance mode not even the account's owner can delete a locked object. One object per head, named so that the
newest comes first in a listing: `<prefix><10^12 - number>.note`. An existing object is never written again
(If-None-Match), and each is read after it was written: versioned, and locked for as long as requested. A user with the
right to delete can still hide objects behind delete markers, and one with the right to write can put another version
over an object. So the *oldest version* of the newest name counts, delete markers or not.

The credentials need s3:PutObject, s3:PutObjectRetention, s3:GetObject, s3:GetObjectVersion, s3:GetObjectRetention,
s3:ListBucketVersions. Nothing else: above all neither s3:BypassGovernanceRetention nor s3:DeleteObject. After a
conflict between two writers (412, 409) the publisher writes the head in its next round.

Source: docs.aws.amazon.com/AmazonS3/latest, "Object Lock considerations", "How to prevent object overwrites with
conditional writes", PutObject, HeadObject, DeleteObject, ListObjectVersions as in botocore 1.44's model of the API
(read 2026-11-22; run against moto 5.2, not against Amazon's service). An upload with a retention period needs
Content-MD5 or x-amz-sdk-checksum-algorithm. Unconfirmed: that If-None-Match passes where a delete marker is the newest
version.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, NamedTuple, Protocol, TypedDict, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from service.domain.audit.anchor import AnchorUnreachable, Conflict, SignedHead, SignedLog, compare_with

_MOST_HEADS = 10**12
_NAME = re.compile(r"[0-9]{12}\.note")
_LONGEST_NOTE_BYTES = 64 * 1024
_MOST_PAGES = 50
_CONNECT_SECONDS, _READ_SECONDS = 10, 30


_Answer = TypeVar("_Answer")


class _Last(NamedTuple):
    number: int
    note: str


class _Written(TypedDict, total=False):
    VersionId: str


class _Seen(TypedDict, total=False):
    ObjectLockMode: str
    ObjectLockRetainUntilDate: datetime


class _Found(TypedDict):
    Body: BinaryIO


class _Version(TypedDict):
    Key: str
    VersionId: str


class _Page(TypedDict, total=False):
    Versions: list[_Version]
    IsTruncated: bool
    NextKeyMarker: str
    NextVersionIdMarker: str


class S3Client(Protocol):
    """The calls of boto3's client that an anchor makes. All raise ClientError or BotoCoreError."""

    def put_object(self, **arguments: object) -> _Written:
        """Write an object."""

    def head_object(self, **arguments: object) -> _Seen:
        """Read the properties of an object's version."""

    def get_object(self, **arguments: object) -> _Found:
        """Read an object's version."""

    def list_object_versions(self, **arguments: object) -> _Page:
        """Read one page of the versions of all objects under a prefix."""


def open_bucket(region: str | None, endpoint: str | None, keys: tuple[str, str] | None) -> S3Client:
    """Return a client of the SDK.

    Without `keys` the SDK finds credentials itself (environment, role of the machine).
    """
    access, secret = keys or (None, None)
    client: S3Client = boto3.client(
        "s3",
        region_name=region or ("us-east-1" if endpoint else None),
        endpoint_url=endpoint,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": 2, "mode": "standard"},
            # Stores that aren't Amazon's know their buckets by path.
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )
    return client


class S3Anchor:
    """Heads under a prefix of one bucket."""

    def __init__(self, name: str, client: S3Client, bucket: str, prefix: str, locked_for: timedelta) -> None:
        self._name = name
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._locked_for = locked_for

    @property
    def name(self) -> str:
        """The anchor's configured name."""
        return self._name

    def compare(self, log: SignedLog) -> Conflict | None:
        """Where the store disagrees with the newest object. Raises AnchorUnreachable."""
        return compare_with(self._name, self.last_note, log)

    def publish(self, head: SignedHead, log: SignedLog, *, over: bool = False) -> None:
        """Write the head as the next object and see that it is locked. Raises AnchorUnreachable."""
        last = self._last()
        if last is not None and last.note == head.note:
            return
        number = 1 if last is None else last.number + 1
        key = f"{self._prefix}{_MOST_HEADS - number:012d}.note"
        until = (datetime.now(UTC) + self._locked_for).replace(microsecond=0)
        content = head.note.encode()
        written = self._call(
            self._client.put_object,
            Key=key,
            Body=content,
            ContentType="text/plain; charset=utf-8",
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=base64.b64encode(hashlib.sha256(content).digest()).decode(),
            IfNoneMatch="*",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=until,
        )
        version = written.get("VersionId")
        if version in (None, "null"):
            raise AnchorUnreachable("s3_not_versioned")
        seen = self._call(self._client.head_object, Key=key, VersionId=version)
        until_seen = seen.get("ObjectLockRetainUntilDate")
        if seen.get("ObjectLockMode") != "COMPLIANCE" or until_seen is None or until_seen < until:
            raise AnchorUnreachable("s3_not_locked")

    def last_note(self) -> str | None:
        """The oldest version of the newest object; None for a prefix without any. Raises AnchorUnreachable."""
        last = self._last()
        return None if last is None else last.note

    def _last(self) -> _Last | None:
        """Listings are in the order of names, and of each name the newest version first."""
        newest: str | None = None
        version: str | None = None
        place: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            page = self._call(self._client.list_object_versions, Prefix=self._prefix, MaxKeys=100, **place)
            for each in page.get("Versions", ()):
                key = each["Key"]
                if not _NAME.fullmatch(key.removeprefix(self._prefix)):
                    continue
                if newest is not None and key != newest:
                    return self._read(newest, version)
                newest, version = key, each["VersionId"]
            if not page.get("IsTruncated"):
                return None if newest is None else self._read(newest, version)
            place = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker", "")}
        raise AnchorUnreachable("s3_too_many_versions")

    def _read(self, key: str, version: str | None) -> _Last:
        found = self._call(self._client.get_object, Key=key, VersionId=version)
        try:
            content = found["Body"].read(_LONGEST_NOTE_BYTES)
            note = content.decode()
        except UnicodeDecodeError:
            note = ""
        except (BotoCoreError, OSError) as error:
            raise AnchorUnreachable(_code(type(error).__name__)) from None
        return _Last(_MOST_HEADS - int(key.removeprefix(self._prefix)[:12]), note)

    def _call(self, operation: Callable[..., _Answer], **arguments: object) -> _Answer:
        try:
            return operation(Bucket=self._bucket, **arguments)
        except ClientError as error:
            raise AnchorUnreachable(_code(str(error.response.get("Error", {}).get("Code", "error")))) from None
        except BotoCoreError as error:
            raise AnchorUnreachable(_code(type(error).__name__)) from None


def _code(text: str) -> str:
    return "s3_" + re.sub(r"[^a-z0-9]", "", text.lower())[:40]
