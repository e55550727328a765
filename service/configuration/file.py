"""Read a TOML configuration file in UTF-8, with or without a byte order mark, for every command."""

from __future__ import annotations

import tomllib
from pathlib import Path

from connectors.base.config import ConfigurationError

_LONGEST_BYTES = 4 * 1024 * 1024


def read_configuration(path: Path) -> dict[str, object]:
    """Return the file's tables.

    Raises ConfigurationError that names the file, the reason and the line, but no value.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise ConfigurationError(f"{path.name or path} can't be read: {reason}") from None
    if len(content) > _LONGEST_BYTES:
        raise ConfigurationError(f"{path.name} has more than 4 MiB: not a configuration")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path.name} is not UTF-8 (line {line}): save it in this encoding") from None
    try:
        # The parser takes the line ends that an editor of another system writes, too.
        return tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path.name} is not TOML: {error}") from None
    except (ValueError, RecursionError):
        # A number of thousands of digits, or brackets without end.
        raise ConfigurationError(
            f"{path.name} is not TOML that can be read: a number or a nesting without end"
        ) from None
