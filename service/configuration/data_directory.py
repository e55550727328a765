"""Create directories under `service.data_directory` when they are needed.

A directory that can't be used is refused with the setting's key and the operating system's reason.
"""

from __future__ import annotations

from pathlib import Path

from connectors.base.config import ConfigurationError


def private_directory(path: Path) -> Path:
    """The directory, made 0700 with its parents if it isn't there. Raises ConfigurationError."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"service.data_directory: {path} can't be made: {error.strerror}") from None
    return path


def unusable(error: OSError) -> ConfigurationError:
    """Return the error for a file in the data directory that can't be read or written."""
    return ConfigurationError(f"service.data_directory: {error.filename} can't be used: {error.strerror}")
