"""`[audit]`: what may be configured, what is refused, and that there is always at least one anchor outside the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connectors.base.config import ConfigurationError
from service.settings import parse_settings
from service.store.anchors.configured import configured_anchors
from service.store.anchors.file import FileAnchor
from service.store.anchors.git import GitAnchor
from service.store.anchors.timestamp import TimestampAnchor
from service.store.anchors.witness import WitnessAnchor
from tests.integration.audit.stand_ins import Authority, Witness

TWENTY_FOUR_MONTHS_DAYS = 731


def parse(tmp_path: Path, **audit: Any) -> Any:
    return parse_settings({"audit": audit}, origin=tmp_path / "expunge.toml")


def test_by_default_one_file_beside_the_data_and_never_in_it(tmp_path: Path) -> None:
    settings = parse(tmp_path)
    (anchor,) = configured_anchors(settings)
    assert isinstance(anchor, FileAnchor)
    data = settings.service.data_directory
    assert anchor._directory.parent == data.parent
    assert not anchor._directory.is_relative_to(data)


def test_entries_are_kept_for_24_months_unless_told_otherwise(tmp_path: Path) -> None:
    assert parse(tmp_path).audit.retention_seconds >= TWENTY_FOUR_MONTHS_DAYS * 86400
    assert parse(tmp_path, retention_seconds=0).audit.retention_seconds == 0


def test_every_kind_is_opened_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(Authority().roots_pem())
    anchors = [
        {"kind": "file", "name": "file", "directory": "mount"},
        {"kind": "git", "name": "git", "directory": "clone", "remote": "ssh://anchor.example.test/heads"},
        {
            "kind": "timestamp",
            "name": "stamp",
            "directory": "t",
            "url": "https://tsa.example.test",
            "ca_file": "roots.pem",
        },
        {
            "kind": "witness",
            "name": "witness",
            "url": "https://w.example.test",
            "key": Witness("o", b"").verifier_key,
        },
    ]
    settings = parse(tmp_path, anchors=anchors)
    opened = configured_anchors(settings)
    assert [type(each) for each in opened] == [FileAnchor, GitAnchor, TimestampAnchor, WitnessAnchor]
    assert [each.name for each in opened] == ["file", "git", "stamp", "witness"]
    assert isinstance(opened[0], FileAnchor)
    assert opened[0]._directory == tmp_path / "mount"
    assert "anchor.example.test" not in repr(settings)


@pytest.mark.parametrize(
    "anchors",
    [
        [],
        [{"kind": "file", "name": "a"}],
        [{"kind": "git", "name": "a"}],
        [{"kind": "witness", "name": "a", "url": "https://w.example.test"}],
        [{"kind": "timestamp", "name": "a", "directory": "d", "url": "https://t.example.test"}],
        [{"kind": "file", "name": "a", "directory": "d", "url": "https://w.example.test"}],
        [{"kind": "carved_in_stone", "name": "a", "directory": "d"}],
        [{"kind": "file", "name": "Not A Code", "directory": "d"}],
        [{"kind": "file", "name": "a", "directory": "d"}, {"kind": "file", "name": "a", "directory": "e"}],
        [{"kind": "witness", "name": "a", "url": "file:///etc", "key": "x"}],
    ],
)
def test_what_could_not_be_an_anchor_is_refused(tmp_path: Path, anchors: list[dict[str, str]]) -> None:
    with pytest.raises(ConfigurationError):
        parse(tmp_path, anchors=anchors)


@pytest.mark.parametrize(
    "anchor",
    [
        {"kind": "witness", "name": "a", "url": "https://w.example.test", "key": "not-a-key"},
        {"kind": "timestamp", "name": "a", "directory": "d", "url": "https://t.example.test", "ca_file": "missing.pem"},
        {"kind": "timestamp", "name": "a", "directory": "d", "url": "https://t.example.test", "ca_file": "empty.pem"},
    ],
)
def test_keys_and_certificates_are_checked_before_anything_starts(tmp_path: Path, anchor: dict[str, str]) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ConfigurationError):
        configured_anchors(parse(tmp_path, anchors=[anchor]))
