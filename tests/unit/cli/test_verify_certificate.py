"""verify_audit.py on certificates: every change is found, and only one subject's entries go in."""

import json
from typing import Any

import pytest

from service.cli.audit.verify_audit import Broken
from service.domain.audit.canonical_json import encode_canonical
from service.domain.audit.signed_note import sign_checkpoint
from tests.unit.cli.small_log import LOG, SIGNER, certificate, certified, entry_of, resigned, signing_key, with_members


def test_a_sound_certificate_is_verified() -> None:
    assert certified(certificate()).startswith("certificate of 5 entries\ncheckpoint 5 ")
    assert certified(certificate(chosen=[0, 2, 3], name="Ünïcode"))


def test_every_single_flipped_bit_of_a_certificate_is_found() -> None:
    content = certificate(chosen=[0, 2])
    for place in range(len(content) * 8):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(Broken):
            certified(bytes(changed))


def test_a_certificate_of_another_key_is_refused() -> None:
    with pytest.raises(Broken, match="trusted key"):
        certified(resigned(json.loads(certificate()), signing_key(b"other")))


def test_an_entry_left_out_of_a_certificate_is_found() -> None:
    document = json.loads(certificate())
    without = document | {"entries": document["entries"][:-1]}
    with pytest.raises(Broken, match="certificate: the signature"):
        certified(encode_canonical(without) + b"\n")


def swapped() -> bytes:
    document = json.loads(certificate())
    entries = document["entries"]
    return resigned(document | {"entries": [entries[1], entries[0], *entries[2:]]})


def edited(**changes: Any) -> bytes:
    document = json.loads(certificate())
    document["entries"][1].update(changes)
    return resigned(document)


@pytest.mark.parametrize(
    "content",
    [
        swapped(),
        edited(index=2),
        edited(index=0),
        edited(index=5),
        edited(index=True),
        edited(index="1"),
        edited(proof=[]),
        edited(proof=["QQ=="]),
        edited(proof="QQ=="),
        edited(proof=[5]),
        edited(entry=json.loads(with_members(LOG[1], actor="scheduler"))),
        edited(more=1),
        resigned(json.loads(certificate()) | {"entries": []}),
        resigned(json.loads(certificate()) | {"certificate": {}}),
        resigned(json.loads(certificate()) | {"certificate": {"subject": "ab" * 16}}),
        resigned(json.loads(certificate()) | {"format": "expunge-certificate/2"}),
        resigned(json.loads(certificate()) | {"checkpoint": sign_checkpoint(SIGNER, 4, bytes(32))}),
        certificate(chosen=[0, 3]),
        certificate(chosen=[2, 3]),
        certificate() + b"\n",
        certificate()[:-1],
    ],
)
def test_a_certificate_that_the_signer_made_wrong_is_found(content: bytes) -> None:
    with pytest.raises(Broken):
        certified(content)


def test_only_entries_of_one_subject_go_into_a_certificate() -> None:
    log = [LOG[0], entry_of("0a1b2c3d-0b5d-4c1e-9a77-3d1f5b2c8e91", 1, None, "ab" * 16).encode()]
    with pytest.raises(ValueError, match="one subject"):
        certificate(log, [0, 1])
    assert certificate(log, [0])
