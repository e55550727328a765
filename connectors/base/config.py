"""The configuration of a system, and how a `[[systems]]` entry becomes it.

Decides which keys an entry may have; the connector's own `Credentials` and `Policy` models decide theirs. Does not read
files or the environment except through `resolve_secret`.
"""

from __future__ import annotations

import difflib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from connectors.base.destinations import NetworkRules, Proxy, UrlRefused, parse_host, parse_http_url, parse_proxy
from connectors.base.pacing import Pacer, RateLimit
from connectors.base.values import KIND_PATTERN, MAX_KIND_CHARACTERS

HTTP_SCHEMES = frozenset({"http", "https"})
MOST_SECONDS = 86_400
_LONGEST_SECRET_BYTES = 1024 * 1024
_Model = TypeVar("_Model", bound=BaseModel)
LONGEST_SECONDS = 100 * 366 * 86_400
"""No duration is longer: a century can still be added to a date."""
_LARGEST_ORDER = 9999
_LARGEST_COUNT = 1_000_000
_SCALARS = frozenset({"int_type", "float_type", "bool_type"})

IdentifierKind = Annotated[str, StringConstraints(pattern=f"^{KIND_PATTERN}$", max_length=MAX_KIND_CHARACTERS)]
"""The type of a configured identifier kind; the same rule as `values.is_identifier_kind`."""


class ConfigurationError(ValueError):
    """The configuration can't be used; the text names the key and the reason, never a secret's value."""


class SystemModel(BaseModel):
    """Base of every connector's `Credentials` and `Policy`.

    Unknown keys are errors; inputs never show in errors.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _no_eternity(self) -> SystemModel:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name.endswith("_seconds") and isinstance(value, int | float) and not value <= LONGEST_SECONDS:
                raise ValueError(f"{name} is longer than a century")
        return self


class NoPolicy(SystemModel):
    """For connectors without policy keys."""


@dataclass(frozen=True)
class SystemConfig:
    """One connected system. `credentials` and `policy` are instances of the connector's own models.

    `delays` overrides the connector's declared delays by name (`confirm_after`, `poll_every`, ...).
    `timeout_seconds` is the longest silence of the vendor within one call, `deadline_seconds` the longest time that a
    call may take as a whole; None leaves it to the toolkit. `network` says what calls may reach, and by which way.
    `rate_limits` overrides the declared limits. `pacer` is given by the program that runs the connector, which asks
    it before every call (`VendorClient` does); None where calls aren't paced.
    """

    name: str
    connector: str
    base_url: str
    credentials: BaseModel = field(repr=False)
    policy: BaseModel
    delays: Mapping[str, timedelta] = field(default_factory=dict)
    order: int | None = None
    max_concurrency: int | None = None
    max_concurrent_people: int | None = None
    timeout_seconds: float | None = None
    deadline_seconds: float | None = None
    network: NetworkRules = field(default_factory=NetworkRules)
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
    "max_concurrent_people",
    "timeout_seconds",
    "deadline_seconds",
    "allow_private_hosts",
    "allow_plain_http",
    "proxy",
    "http2",
    "rate_limits",
)


def resolve_secret(value: Any, where: str = "") -> Any:
    """`env:NAME` and `file:PATH` become the variable's or the file's content, in tables and lists as well.

    `where` is the key's place, for errors. A file must be a regular one of at most 1 MiB of UTF-8: a pipe would be
    waited for without end.
    """
    if isinstance(value, dict):
        return {name: resolve_secret(item, f"{where}.{name}" if where else name) for name, item in value.items()}
    if isinstance(value, list):
        return [resolve_secret(item, where) for item in value]
    if isinstance(value, str) and value.startswith("env:"):
        name = value.removeprefix("env:")
        if name not in os.environ:
            raise _unusable(where, f"environment variable {name} is not set")
        return os.environ[name]
    if isinstance(value, str) and value.startswith("file:"):
        return _content(value.removeprefix("file:"), where)
    return value


def _content(path: str, where: str) -> str:
    try:
        # Without O_NONBLOCK already opening a pipe waits for somebody to write into it.
        descriptor = os.open(Path(path).expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, no path
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unusable(where, "the secret's file is no regular file")
            content = file.read(_LONGEST_SECRET_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise _unusable(where, f"secret file can't be read: {reason}") from None
    if len(content) > _LONGEST_SECRET_BYTES:
        raise _unusable(where, "the secret's file has more than 1 MiB")
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise _unusable(where, "the secret's file is no UTF-8 text") from None


def _unusable(where: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {reason}" if where else reason)


def unknown_key(key: str, known: tuple[str, ...], where: str) -> ConfigurationError:
    """Return the error for an unknown key, with the nearest known key as a suggestion."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(sorted(known))}"
    return ConfigurationError(f"{where}: unknown key {key!r}{hint}")


def check_keys(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Raise ConfigurationError at the first key of `table` that isn't known."""
    for key in table:
        if key not in known:
            raise unknown_key(key, known, where)


def parse_model(model: type[_Model], table: Any, where: str) -> _Model:
    """Build a model from a table, secrets resolved; errors name key and reason and never echo a value.

    Types are strict: a number in quotes is a text. A text from `env:` or `file:` is read as the type of its key.
    """
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{where}: a table is required")
    check_keys(table, tuple(model.model_fields), where)
    values = {key: resolve_secret(value, f"{where}.{key}") for key, value in table.items()}
    for key, value in values.items():
        if isinstance(value, str) and "\0" in value:
            raise ConfigurationError(f"{where}.{key}: a zero character stands in it")
    try:
        try:
            return _validated(model, values)
        except ValidationError as error:
            outside = {e["loc"][0] for e in error.errors() if e["type"] in _SCALARS and len(e["loc"]) == 1}
            read = {
                key: _scalar(values[key])
                for key in outside
                if isinstance(table[key], str) and values[key] != table[key]
            }
            if not read:
                raise
            return _validated(model, values | read)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        if first["type"] == "extra_forbidden":
            # A key of a table inside this one: `check_keys` has seen those of the outermost only.
            inside = ".".join(str(p) for p in (where, *first["loc"][:-1]))
            raise ConfigurationError(f"{inside}: unknown key {first['loc'][-1]!r}") from None
        place = ".".join(str(p) for p in (where, *first["loc"]))
        raise ConfigurationError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def _validated(model: type[_Model], values: Mapping[str, Any]) -> _Model:
    # As JSON, because strict Python values would refuse a list for a tuple and a text for a path.
    return model.model_validate_json(json.dumps(values, default=str), strict=True)


def _scalar(text: str) -> Any:
    """The number or the truth value that a text stands for, else the text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float) else text


def parse_delays(table: Any, known: tuple[str, ...], where: str) -> dict[str, timedelta]:
    """Delays are numbers of seconds, never negative."""
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{where}: a table is required")
    check_keys(table, known, where)
    delays: dict[str, timedelta] = {}
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_SECONDS:
            raise ConfigurationError(f"{where}.{key}: a delay is a number of seconds, 0 or more, at most a century")
        delays[key] = timedelta(seconds=value)
    return delays


def parse_count(value: Any, where: str) -> int | None:
    """A count is a whole number, 1 or more; None stays None."""
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_COUNT
    ):
        raise ConfigurationError(f"{where}: a whole number, 1 or more, at most a million")
    return value


def parse_order(value: Any, where: str) -> int | None:
    """A place among the systems is a whole number; None stays None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST_ORDER):
        raise ConfigurationError(f"{where}: a whole number of at most four digits")
    return value


def parse_timeout(value: Any, where: str) -> float | None:
    """A time-out is a number of seconds above 0; None stays None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_SECONDS:
        raise ConfigurationError(f"{where}: a time-out is a number of seconds above 0, at most {MOST_SECONDS}")
    return float(value)


def parse_network(entry: Mapping[str, Any], where: str) -> NetworkRules:
    """Read `allow_private_hosts`, `allow_plain_http`, `proxy` and `http2` of an entry.

    Raises ConfigurationError.
    """
    hosts = entry.get("allow_private_hosts", [])
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ConfigurationError(f"{where}.allow_private_hosts: a list of hosts, as they stand in URLs")
    try:
        allowed = frozenset(parse_host(host) for host in hosts)
    except UrlRefused as refused:
        raise ConfigurationError(f"{where}.allow_private_hosts: {refused}") from None
    for key in ("allow_plain_http", "http2"):
        if not isinstance(entry.get(key, False), bool):
            raise ConfigurationError(f"{where}.{key}: true or false")
    proxy, may_use_proxy = _parse_proxy(resolve_secret(entry.get("proxy"), f"{where}.proxy"), f"{where}.proxy")
    return NetworkRules(allowed, entry.get("allow_plain_http", False), proxy, may_use_proxy, entry.get("http2", True))


def _parse_proxy(value: Any, where: str) -> tuple[Proxy | None, bool]:
    if value is None or value == "none":
        return None, value is None
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: http://host:port, or none")
    try:
        return parse_proxy(value), True
    except UrlRefused as refused:
        raise ConfigurationError(f"{where}: {refused}") from None


def parse_base_url(text: str, schemes: frozenset[str], network: NetworkRules, where: str) -> str:
    """Check a system's address, an http or https one completely; return it without slashes at its end.

    Raises ConfigurationError naming the key and the reason, never the URL: people put passwords there.
    """
    scheme = text.partition(":")[0].lower()
    if scheme not in schemes:
        known = " or ".join(f"{each}://" for each in sorted(schemes, reverse=True))
        raise ConfigurationError(f"{where}: an address that begins with {known} is required")
    if scheme not in HTTP_SCHEMES:
        return text.rstrip("/")
    try:
        url = parse_http_url(text)
        network.check_target(url.scheme, url.host)
    except UrlRefused as refused:
        raise ConfigurationError(f"{where}: {refused}") from None
    return text.rstrip("/")


def parse_deadline(value: Any, timeout_seconds: float | None, where: str) -> float | None:
    """A deadline is a number of seconds, not below the limit on silence; None stays None."""
    seconds = parse_timeout(value, where)
    if seconds is not None and timeout_seconds is not None and seconds < timeout_seconds:
        raise ConfigurationError(f"{where}: a call can't end before timeout_seconds, its limit on silence")
    return seconds


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
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_SECONDS:
        raise ConfigurationError(f"{where}.per_seconds: a number of seconds above 0, at most a century")
    if not isinstance(per_subject, bool):
        raise ConfigurationError(f"{where}.per_subject: true or false")
    return RateLimit(calls, timedelta(seconds=seconds), per_subject)
