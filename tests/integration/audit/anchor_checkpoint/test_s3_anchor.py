"""Heads in a bucket with object lock: never written twice, locked before they count, not to be hidden or covered."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.domain.audit.anchor import AnchorUnreachable, Disagreement, SignedHead
from service.domain.audit.merkle import leaf_hash, root_of
from service.domain.audit.signed_note import SigningKey, TrustedKey, open_checkpoint, sign_checkpoint
from service.store.anchors.s3 import S3Anchor, open_bucket
from tests.integration.audit.anchor_checkpoint.s3_stand_in import ACCESS_KEY, SECRET_KEY, Bucket, serving

KEY = SigningKey("expunge.example/log", Ed25519PrivateKey.generate())
LOCKED_FOR = timedelta(days=731)


class Log:
    """A log of numbered entries, as domain.anchor.SignedLog asks about it."""

    def __init__(self, size: int = 0, published: int = 0, salt: bytes = b"") -> None:
        self.size, self._published, self._salt = size, published, salt

    def head(self, size: int | None = None) -> SignedHead:
        size = self.size if size is None else size
        note = sign_checkpoint(KEY, size, self.root_at(size))
        return SignedHead(note, open_checkpoint(note, KEY.trusted))

    def newest(self) -> SignedHead | None:
        return self.head() if self.size else None

    def root_at(self, size: int) -> bytes:
        return root_of(leaf_hash(self._salt + bytes([each])) for each in range(size))

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        raise AssertionError("not asked by this kind")

    def trusted_key(self) -> TrustedKey:
        return KEY.trusted

    def published(self, anchor: str) -> int:
        return self._published


@pytest.fixture(params=[False, True], ids=["marks-last", "marks-next"])
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """Of both kinds of listing: what a page's marker names is told in two ways."""
    with serving(Bucket(marks_next=request.param)) as served:
        yield served


def anchor_in(bucket: Bucket, name: str | None = None) -> S3Anchor:
    client = open_bucket(None, bucket.url, (ACCESS_KEY, SECRET_KEY))
    return S3Anchor("place", client, name or bucket.name, "acme/", LOCKED_FOR)


def published(bucket: Bucket, sizes: Sequence[int]) -> S3Anchor:
    anchor = anchor_in(bucket)
    for size in sizes:
        anchor.publish(Log(size).head(), Log(size))
    return anchor


def codes(anchor: S3Anchor, log: Log) -> Disagreement | None:
    conflict = anchor.compare(log)
    return None if conflict is None else conflict.code


def test_heads_are_kept_in_order_each_once_each_locked(bucket: Bucket) -> None:
    assert anchor_in(bucket).compare(Log()) is None
    anchor = published(bucket, [3, 5, 5, 8, 9])
    assert len(bucket.objects) == 4
    assert all(len(versions) == 1 for versions in bucket.objects.values())
    for (version,) in bucket.objects.values():
        assert version.mode == "COMPLIANCE"
        assert version.until is not None
        assert version.until >= datetime.now(UTC) + LOCKED_FOR - timedelta(minutes=5)
    assert anchor.last_note() == Log(9).head().note
    assert anchor.compare(Log(12, published=9)) is None


def test_a_log_that_was_cut_or_rewritten_and_an_anchor_that_was_shortened_show(bucket: Bucket) -> None:
    anchor = published(bucket, [3, 8])
    assert codes(anchor, Log(5, published=5)) is Disagreement.STORE_BEHIND
    assert codes(anchor, Log(9, published=8, salt=b"x")) is Disagreement.OTHER_ROOT
    assert codes(anchor, Log(12, published=11)) is Disagreement.ANCHOR_CUT


def test_a_locked_head_cannot_be_deleted_hidden_or_covered(bucket: Bucket) -> None:
    """Everything that somebody with all rights but time can do, and what the store then is told: the truth."""
    anchor = published(bucket, [3, 8])
    newest = bucket.keys()[0]
    (version,) = bucket.objects[newest]
    assert bucket.delete(newest, version.id)[0] == 403
    bucket.delete(newest, None)
    assert codes(anchor, Log(5, published=5)) is Disagreement.STORE_BEHIND
    for each in range(5):
        bucket.put(newest, Log(5).head().note.encode(), {})
        bucket.put(newest, bytes([each]), {})
    assert codes(anchor, Log(5, published=5)) is Disagreement.STORE_BEHIND
    assert anchor.last_note() == Log(8).head().note


def test_an_object_that_is_no_head_of_ours_is_a_conflict_and_other_objects_are_passed_over(bucket: Bucket) -> None:
    anchor = published(bucket, [3])
    for other in ("acme/000.txt", "acme/readme", "another/000000000001.note"):
        bucket.put(other, b"x", {})
    assert anchor.compare(Log(3, published=3)) is None
    for content in (b"nonsense", b"\xff\xfe"):
        bucket.objects[f"acme/{5:012d}.note"] = []
        bucket.put(f"acme/{5:012d}.note", content, {})
        assert codes(anchor, Log(3, published=3)) is Disagreement.NOT_OURS


def test_two_that_publish_at_once_write_one_head_and_nobody_overwrites(bucket: Bucket) -> None:
    anchor, other = published(bucket, [3]), anchor_in(bucket)
    seen_before = other._last()
    anchor.publish(Log(5).head(), Log(5))
    other._last = lambda: seen_before  # type: ignore[method-assign]  # it listed before the first one wrote
    with pytest.raises(AnchorUnreachable, match="s3_preconditionfailed"):
        other.publish(Log(6).head(), Log(6))
    assert anchor.last_note() == Log(5).head().note


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"has_lock": False}, "s3_invalidrequest"),
        ({"forgets_lock": True}, "s3_not_locked"),
        ({"unversioned": True}, "s3_not_versioned"),
        ({"refuses": 403}, "s3_serviceunavailable"),
    ],
)
def test_a_bucket_that_does_not_lock_keeps_nothing_for_us(bucket: Bucket, change: dict[str, Any], code: str) -> None:
    for name, value in change.items():
        setattr(bucket, name, value)
    with pytest.raises(AnchorUnreachable) as unreachable:
        anchor_in(bucket).publish(Log(3).head(), Log(3))
    assert unreachable.value.code == code
    assert "ada" not in str(unreachable.value)


def test_what_cannot_be_asked_is_unreachable_and_no_conflict(bucket: Bucket) -> None:
    with pytest.raises(AnchorUnreachable, match="s3_nosuchbucket"):
        anchor_in(bucket, "other-bucket").compare(Log(3))
    stranger = S3Anchor("place", open_bucket(None, bucket.url, ("AKIAOTHER", "x")), bucket.name, "", LOCKED_FOR)
    with pytest.raises(AnchorUnreachable, match="s3_invalidaccesskeyid"):
        stranger.compare(Log(3))
    gone = S3Anchor("place", open_bucket(None, "http://127.0.0.1:9", ("a", "b")), bucket.name, "", LOCKED_FOR)
    with pytest.raises(AnchorUnreachable, match="s3_endpointconnectionerror"):
        gone.compare(Log(3))


def test_the_stand_in_refuses_a_body_that_is_not_what_its_headers_say(bucket: Bucket) -> None:
    checksum = base64.b64encode(bytes(32)).decode()
    assert bucket.put("k", b"x", {"x-amz-checksum-sha256": checksum})[1] == "BadDigest"
    assert bucket.put("k", b"x", {"x-amz-object-lock-mode": "COMPLIANCE"})[1] == "InvalidRequest"
