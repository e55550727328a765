"""Read `[database]` and `[broker]`: servers that run elsewhere, and the allowed forms of their URLs.

Opens nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from connectors.base.config import SystemModel

DATABASE_SCHEMES = ("postgresql+psycopg", "postgresql")
BROKER_SCHEMES = ("redis", "rediss", "redis+socket")
_BY_PATH = frozenset({"redis+socket"})


def check_server_url(url: str, schemes: Collection[str]) -> None:
    """Return if the URL has one of the schemes and can be parsed.

    Raises ValueError; its text doesn't contain the URL, because a URL holds secrets.
    """
    known = " or ".join(f"{scheme}://" for scheme in schemes)
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in schemes:
        raise ValueError(f"a URL that begins with {known} is required")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the URL's host or port can't be read") from None
    if port == 0:
        raise ValueError("the URL's port is 0")
    if scheme in _BY_PATH and not parts.path.strip("/"):
        raise ValueError("the URL names no socket")
    if scheme in DATABASE_SCHEMES and not parts.path.strip("/"):
        raise ValueError("the URL names no database: it ends with /name")


class DatabaseSettings(SystemModel):
    """`[database]`: with no URL the service runs a PostgreSQL server of its own."""

    url: SecretStr | None = Field(None, description="main store, `postgresql+psycopg://...`; embedded if absent")
    key_url: SecretStr | None = Field(None, description="key store, another database; embedded if absent")

    @field_validator("url", "key_url")
    @classmethod
    def _usable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_server_url(value.get_secret_value(), DATABASE_SCHEMES)
        return value


class BrokerSettings(SystemModel):
    """`[broker]`: with no URL the service runs a Valkey server of its own."""

    url: SecretStr | None = Field(None, description="Redis or Valkey for Celery; embedded if absent")

    @field_validator("url")
    @classmethod
    def _usable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_server_url(value.get_secret_value(), BROKER_SCHEMES)
        return value
