"""Make the anchors of this installation from its settings.

Opens nothing but certificates: an anchor connects when it is called.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography import x509

from connectors.base.config import ConfigurationError
from service.configuration.audit import AnchorSettings
from service.domain.audit.anchor import Anchor
from service.domain.audit.signed_note import NoteRefused
from service.settings import Settings
from service.store.anchors.file import FileAnchor
from service.store.anchors.git import GitAnchor
from service.store.anchors.timestamp import TimestampAnchor
from service.store.anchors.witness import WitnessAnchor, WitnessKey

DEFAULT_NAME = "file"


def configured_anchors(settings: Settings) -> tuple[Anchor, ...]:
    """At least one. Raises ConfigurationError."""
    if settings.audit.anchors is None:
        return (FileAnchor(DEFAULT_NAME, default_directory(settings)),)
    base = settings.origin.resolve().parent if settings.origin is not None else Path()
    return tuple(_anchor(each, base, settings.audit.retention_seconds) for each in settings.audit.anchors)


def anchor_names(settings: Settings) -> tuple[str, ...]:
    """The names of the configured anchors, at least one; opens nothing."""
    given = settings.audit.anchors
    return (DEFAULT_NAME,) if given is None else tuple(each.name for each in given)


def default_directory(settings: Settings) -> Path:
    """Return a directory beside the data directory, not in it.

    A restore of the data directory then doesn't restore the anchor.
    """
    data = settings.service.data_directory.resolve()
    return data.with_name(f"{data.name}.audit-anchor")


def _anchor(given: AnchorSettings, base: Path, retention_seconds: float) -> Anchor:
    # The settings' validator has made sure that each kind has the settings that it needs.
    directory = base / (given.directory or Path())
    if given.kind == "file":
        return FileAnchor(given.name, directory)
    if given.kind == "git":
        remote = None if given.remote is None else given.remote.get_secret_value()
        return GitAnchor(given.name, directory, remote)
    if given.kind == "timestamp":
        return TimestampAnchor(given.name, directory, given.url or "", _roots(given, base))
    if given.kind == "s3":
        return _s3_anchor(given, given.lock_seconds or retention_seconds)
    try:
        return WitnessAnchor(given.name, given.url or "", WitnessKey.parse(given.key or ""))
    except NoteRefused as refused:
        raise ConfigurationError(f"audit.anchors[{given.name}].key: {refused}") from None


def _s3_anchor(given: AnchorSettings, lock_seconds: float) -> Anchor:
    try:
        # The SDK is an extra, because only such an anchor needs it.
        from service.store.anchors.s3 import S3Anchor, open_bucket
    except ModuleNotFoundError:
        raise ConfigurationError(f"audit.anchors[{given.name}]: an anchor of kind s3 needs expunge[s3]") from None
    keys = None
    if given.access_key is not None and given.secret_key is not None:
        keys = (given.access_key.get_secret_value(), given.secret_key.get_secret_value())
    client = open_bucket(given.region, given.url, keys)
    return S3Anchor(given.name, client, given.bucket or "", given.prefix or "", timedelta(seconds=lock_seconds))


def _roots(given: AnchorSettings, base: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates((base / (given.ca_file or Path())).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"audit.anchors[{given.name}].ca_file: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError(f"audit.anchors[{given.name}].ca_file: no PEM certificates") from None
