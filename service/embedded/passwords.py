"""Create the servers' passwords: random, one per role, each in a 0600 file of ours.

Doesn't decide which role signs in to which server.
"""

import secrets
from pathlib import Path

from service.embedded.data_directory import write_durably
from service.embedded.errors import DataUnfit

PASSWORD_BYTES = 32


def password(directory: Path, role: str, may_create: bool) -> str:
    """Return the password of `role`, created once.

    Raises DataUnfit if it is missing although the data that it opens exists.
    """
    file = directory / f"{role}.password"
    if file.exists():
        return file.read_text(encoding="utf-8")
    if not may_create:
        raise DataUnfit(
            f"{file} is missing, and without it the existing data can't be opened: restore it from a backup"
        )
    # Hexadecimal, so that it needs no quoting in any URL or configuration file.
    created = secrets.token_hex(PASSWORD_BYTES)
    write_durably(file, created)
    return created
