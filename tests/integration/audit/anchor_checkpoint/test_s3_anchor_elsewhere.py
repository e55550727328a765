"""Heads in a bucket of moto's, an implementation of object lock that isn't ours, asked what the real one is asked.

moto 5.2 checks neither who asks nor signatures, and answers 500 to GetObjectRetention (seen 2026-11-22); we ask
HeadObject. Amazon's own service stays unconfirmed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from service.domain.audit.anchor import AnchorUnreachable, Disagreement
from service.store.anchors.s3 import S3Anchor, open_bucket
from tests.integration.audit.anchor_checkpoint.test_s3_anchor import LOCKED_FOR, Log, codes

pytestmark = pytest.mark.long
# In a process of its own: where it is imported, it changes how the SDK's clients are made.
_SERVE = (
    "import sys; from moto.server import ThreadedMotoServer;"
    "server = ThreadedMotoServer('127.0.0.1', 0, verbose=False); server.start();"
    "print(server.get_host_and_port()[1], flush=True); sys.stdin.read()"
)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The SDK's client of a server that ends with this module: it reads until we close its input."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as serving:
        assert serving.stdout is not None
        port = int(serving.stdout.readline())
        yield open_bucket(None, f"http://127.0.0.1:{port}", ("AKIAEXAMPLE", "not-a-secret"))
        assert serving.stdin is not None
        serving.stdin.close()


def anchor_in(client: Any, bucket: str, *, locks: bool = True) -> S3Anchor:
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=locks)
    return S3Anchor("place", client, bucket, "acme/", LOCKED_FOR)


def versions_in(client: Any, bucket: str) -> list[tuple[str, str]]:
    return [(each["Key"], each["VersionId"]) for each in client.list_object_versions(Bucket=bucket)["Versions"]]


def test_heads_are_kept_once_each_and_locked_for_as_long_as_asked(client: Any) -> None:
    anchor = anchor_in(client, "once-each")
    assert anchor.compare(Log()) is None
    begun_at = datetime.now(UTC).replace(microsecond=0)
    for size in (3, 5, 5, 8, 9):
        anchor.publish(Log(size).head(), Log(size))
    kept = versions_in(client, "once-each")
    assert len(kept) == 4
    for key, version in kept:
        seen = client.head_object(Bucket="once-each", Key=key, VersionId=version)
        assert seen["ObjectLockMode"] == "COMPLIANCE"
        assert seen["ObjectLockRetainUntilDate"] >= begun_at + LOCKED_FOR
    assert anchor.last_note() == Log(9).head().note
    assert anchor.compare(Log(12, published=9)) is None
    assert codes(anchor, Log(9, published=9, salt=b"x")) is Disagreement.OTHER_ROOT


def test_a_locked_head_cannot_be_deleted_hidden_covered_or_written_twice(client: Any) -> None:
    anchor = anchor_in(client, "all-rights")
    for size in (3, 8):
        anchor.publish(Log(size).head(), Log(size))
    key, version = versions_in(client, "all-rights")[0]
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket="all-rights", Key=key, VersionId=version)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket="all-rights", Key=key, Body=b"x", IfNoneMatch="*")
    client.delete_object(Bucket="all-rights", Key=key)
    for each in range(120):  # More than a page of the listing holds.
        client.put_object(Bucket="all-rights", Key=key, Body=bytes([each]))
    assert anchor.last_note() == Log(8).head().note
    assert codes(anchor, Log(5, published=5)) is Disagreement.STORE_BEHIND


def test_a_bucket_that_does_not_lock_keeps_nothing_for_us(client: Any) -> None:
    with pytest.raises(AnchorUnreachable, match="s3_invalidrequest"):
        anchor_in(client, "unlocked", locks=False).publish(Log(3).head(), Log(3))
    with pytest.raises(AnchorUnreachable, match="s3_nosuchbucket"):
        S3Anchor("place", client, "not-there", "", LOCKED_FOR).compare(Log(3))
