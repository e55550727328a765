"""What a connector is told about its system, and how a `[[systems]]` entry becomes that.

Decides which keys an entry may have; the connector's own `Credentials` and `Policy` models decide theirs.
Does not read files or the environment except through `resolve_secret`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from connectors.base.pacing import Pacer, RateLimit
from connectors.base.values import KIND_PATTERN, MAX_KIND_CHARACTERS

_Model = TypeVar("_Model", bound=BaseModel)

IdentifierKind = Annotated[str, StringConstraints(pattern=f"^{KIND_PATTERN}$", max_length=MAX_KIND_CHARACTERS)]
"""The type of a configured identifier kind; the same rule as `values.is_identifier_kind`."""


class ConfigurationError(ValueError):
    """The configuration can't be used; the text names the key and the reason, never a secret's value."""


class SystemModel(BaseModel):
    """Base of every connector's `Credentials` and `Policy`: unknown keys are errors, inputs never show in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoPolicy(SystemModel):
    """For connectors without policy keys."""


@dataclass(frozen=True)
class SystemConfig:
    """One connected system. `credentials` and `policy` are instances of the connector's own models.

    `delays` overrides the connector's declared delays by name (`confirm_after`, `poll_every`, ...).
    `timeout_seconds` is the longest silence of the vendor within one call; None leaves it to the toolkit.
    `rate_limits` overrides the declared limits. `pacer` is given by whoever runs the connector, which asks it before
    every call (`VendorClient` does); None where nobody paces.
    """

    name: str
    connector: str
    base_url: str
    credentials: BaseModel = field(repr=False)
    policy: BaseModel
    delays: Mapping[str, timedelta] = field(default_factory=dict)
    order: int | None = None
    max_concurrency: int | None = None
    people_at_once: int | None = None
    timeout_seconds: float | None = None
    rate_limits: tuple[RateLimit, ...] | None = None
    pacer: Pacer | None = field(default=None, repr=False, compare=False)


SYSTEM_KEYS = (
    "name",
    "connector",
    "base_url",
    "credentials",
    "policy",
    "delays",
    "order",
    "max_concurrency",
    "people_at_once",
    "timeout_seconds",
    "rate_limits",
)


def resolve_secret(value: Any) -> Any:
    """`env:NAME` and `file:PATH` become the variable's or the file's content, in tables and lists as well."""
    if isinstance(value, dict):
        return {name: resolve_secret(item) for name, item in value.items()}
    if isinstance(value, list):
        return [resolve_secret(item) for item in value]
    if isinstance(value, str) and value.startswith("env:"):
        name = value.removeprefix("env:")
        if name not in os.environ:
            raise ConfigurationError(f"environment variable {name} is not set")
        return os.environ[name]
    if isinstance(value, str) and value.startswith("file:"):
        path = Path(value.removeprefix("file:")).expanduser()
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(f"secret file can't be read: {error.strerror}") from None
    return value


def unknown_key(key: str, known: tuple[str, ...], where: str) -> ConfigurationError:
    """The error for a key that nobody reads, with the nearest known key as a suggestion."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(sorted(known))}"
    return ConfigurationError(f"{where}: unknown key {key!r}{hint}")


def check_keys(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raise ConfigurationError at the first key of `table` that isn't known."""
    for key in table:
        if key not in known:
            raise unknown_key(key, known, where)


def parse_model(model: type[_Model], table: Mapping[str, Any], where: str) -> _Model:
    """Build a model from a table, secrets resolved; errors name key and reason and never echo a value."""
    check_keys(table, tuple(model.model_fields), where)
    try:
        return model.model_validate({k: resolve_secret(v) for k, v in table.items()})
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(str(p) for p in first["loc"]) or "(whole)"
        raise ConfigurationError(f"{where}.{place}: {first['msg']}") from None


def parse_delays(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> dict[str, timedelta]:
    """Delays are numbers of seconds, never negative."""
    check_keys(table, known, where)
    delays: dict[str, timedelta] = {}
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ConfigurationError(f"{where}.{key}: a delay is a number of seconds, 0 or more")
        delays[key] = timedelta(seconds=value)
    return delays


def parse_count(value: Any, where: str) -> int | None:
    """A count is a whole number, 1 or more; None stays None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigurationError(f"{where}: a whole number, 1 or more")
    return value


def parse_timeout(value: Any, where: str) -> float | None:
    """A time-out is a number of seconds above 0; None stays None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ConfigurationError(f"{where}: a time-out is a number of seconds above 0")
    return float(value)


_LIMIT_KEYS = frozenset({"calls", "per_seconds", "per_subject"})


def parse_rate_limits(value: Any, where: str) -> tuple[RateLimit, ...] | None:
    """`rate_limits` of an entry: a list of `{calls, per_seconds, per_subject}`; None stays None."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise ConfigurationError(f"{where}: a list of tables is required")
    return tuple(_parse_limit(entry, f"{where}[{number}]") for number, entry in enumerate(value))


def _parse_limit(entry: Any, where: str) -> RateLimit:
    if not isinstance(entry, dict) or not {"calls", "per_seconds"} <= set(entry) <= _LIMIT_KEYS:
        raise ConfigurationError(f"{where}: takes calls, per_seconds and, if people are counted, per_subject")
    calls, seconds, per_subject = entry["calls"], entry["per_seconds"], entry.get("per_subject", False)
    if isinstance(calls, bool) or not isinstance(calls, int) or calls < 1:
        raise ConfigurationError(f"{where}.calls: a whole number, 1 or more")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise ConfigurationError(f"{where}.per_seconds: a number of seconds above 0")
    if not isinstance(per_subject, bool):
        raise ConfigurationError(f"{where}.per_subject: true or false")
    return RateLimit(calls, timedelta(seconds=seconds), per_subject)
