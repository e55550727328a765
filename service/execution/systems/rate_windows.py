"""Keep short rate windows in Redis or Valkey for all workers: sliding logs by the server's clock.

Each question is one script, so that no other client runs in between. Keys hold instants and counts only, and may vanish
at any moment. Doesn't decide what happens without a server: service.execution.systems.rate_limiter does.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from connectors.base.pacing import RateLimit, VendorWord, guarded_seconds

_PATIENCE_SECONDS = 0.5

# KEYS: shut, word, care, one log per limit. ARGV: wanted, horizon, needed, a name, then calls and window per limit.
# Answers {granted, wait in microseconds}. With a name the permits are taken; without one it is only told how many there
# are by the horizon, and when `needed` will be.
_ASK = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local wanted, horizon, needed, name = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local shut = tonumber(redis.call('GET', KEYS[1]) or '0')
if shut > now then return {0, shut - now} end
local granted, wait = wanted, 0
local word = redis.call('HMGET', KEYS[2], 'remaining', 'resets_at')
local spoken = word[1] and word[2] and tonumber(word[2]) > now
if spoken then
  granted = math.min(granted, tonumber(word[1]))
  if granted < needed then wait = tonumber(word[2]) - now end
end
local care = 1 + tonumber(redis.call('GET', KEYS[3]) or '0') / 1000
for i = 4, #KEYS do
  local calls, window = tonumber(ARGV[2 * i - 3]), tonumber(ARGV[2 * i - 2]) * care
  redis.call('ZREMRANGEBYSCORE', KEYS[i], 0, string.format('%.0f', now - window))
  local used = redis.call('ZCARD', KEYS[i])
  local least = math.min(needed, calls)
  local free = calls - used
  if horizon > 0 then
    free = calls - redis.call('ZCOUNT', KEYS[i], string.format('(%.0f', now - window + horizon), '+inf')
  end
  granted = math.min(granted, free)
  if free < least then
    local nth = used - calls + least - 1
    local oldest = redis.call('ZRANGE', KEYS[i], nth, nth, 'WITHSCORES')
    wait = math.max(wait, tonumber(oldest[2]) + window - now - horizon)
  end
end
if granted <= 0 then return {0, math.max(wait, 1000)} end
if name ~= '' then
  for i = 4, #KEYS do
    for n = 1, granted do
      redis.call('ZADD', KEYS[i], string.format('%.0f', now), name .. ':' .. n)
    end
    redis.call('PEXPIRE', KEYS[i], math.ceil(tonumber(ARGV[2 * i - 2]) * care / 1000) + 1000)
  end
  if spoken then redis.call('HINCRBY', KEYS[2], 'remaining', -granted) end
end
return {granted, wait}
"""

# A longer word is never shortened: what one process was told counts for all.
_SHUT = """
local t = redis.call('TIME')
local until_ = t[1] * 1000000 + t[2] + tonumber(ARGV[1])
if tonumber(redis.call('GET', KEYS[1]) or '0') < until_ then
  redis.call('SET', KEYS[1], string.format('%.0f', until_), 'PX', math.ceil(tonumber(ARGV[1]) / 1000) + 1)
end
"""

# Refused although we counted right: calls travel unevenly, or others call as well. For an hour all windows are taken
# longer, by 2 % for each window in which that happened, at most by 10 %.
_CARE = """
if redis.call('SET', KEYS[2], 1, 'NX', 'PX', ARGV[1]) then
  local care = math.min(tonumber(redis.call('GET', KEYS[1]) or '0') + 20, 100)
  redis.call('SET', KEYS[1], care, 'PX', 3600000)
end
"""

# Answers overtake each other: within one window of the vendor's the smallest number counts.
_HEAR = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local remaining, resets_at = tonumber(ARGV[1]), now + tonumber(ARGV[2])
local word = redis.call('HMGET', KEYS[1], 'remaining', 'resets_at')
if word[1] and word[2] and tonumber(word[2]) > now then
  remaining = math.min(remaining, tonumber(word[1]))
  resets_at = tonumber(word[2])
end
redis.call('HSET', KEYS[1], 'remaining', remaining, 'resets_at', string.format('%.0f', resets_at))
redis.call('PEXPIRE', KEYS[1], math.ceil((resets_at - now) / 1000) + 1)
"""


@dataclass(frozen=True, slots=True)
class Permits:
    """`granted` permits; if fewer than needed, the next ones are free after `wait_seconds`."""

    granted: int
    wait_seconds: float = 0.0


class SharedWindows:
    """Raises redis.RedisError when the server can't be asked within half a second."""

    def __init__(self, broker_url: str) -> None:
        self._redis = redis.Redis.from_url(
            client_url(broker_url),
            socket_timeout=_PATIENCE_SECONDS,
            socket_connect_timeout=_PATIENCE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._ask = self._redis.register_script(_ASK)
        self._shut = self._redis.register_script(_SHUT)
        self._care = self._redis.register_script(_CARE)
        self._hear = self._redis.register_script(_HEAR)
        self._me = os.urandom(6).hex()
        self._count = 0

    def take(self, system: str, limits: Sequence[RateLimit], wanted: int) -> Permits:
        """Take up to `wanted` permits of all these limits at once."""
        self._count += 1
        return self._asked(system, limits, wanted, 0.0, 1, f"{self._me}:{self._count}:{os.getpid()}")

    def room(self, system: str, limits: Sequence[RateLimit], needed: int, horizon_seconds: float) -> Permits:
        """How many permits there are, those included that get free by the horizon. Takes none."""
        most = min((limit.calls for limit in limits), default=1_000_000)
        return self._asked(system, limits, most, horizon_seconds, needed, "")

    def shut(self, system: str, seconds: float) -> None:
        """Give no permits for so many seconds."""
        self._shut(keys=[_key(system, "shut")], args=[int(seconds * 1e6)])

    def take_care(self, system: str, limits: Sequence[RateLimit]) -> None:
        """The vendor refused a call that had a permit."""
        longest = max(limit.per.total_seconds() for limit in limits)
        self._care(keys=[_key(system, "care"), _key(system, "cared")], args=[max(1, int(longest * 1000))])

    def hear(self, system: str, word: VendorWord) -> None:
        """So many calls are left in the vendor's own window."""
        self._hear(keys=[_key(system, "word")], args=[word.remaining, int(word.resets_in_seconds * 1e6)])

    def is_nudged(self, queues: Sequence[str], *, besides: str) -> bool:
        """True if a message waits in one of these queues for a free worker, other than nudges of one system."""
        return any(
            not _is_nudge_of(message, besides)
            for queue in queues
            for message in self._redis.lrange(queue, 0, -1)  # a nudge per due system at most
        )

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def _asked(
        self, system: str, limits: Sequence[RateLimit], wanted: int, horizon: float, needed: int, name: str
    ) -> Permits:
        seconds = [guarded_seconds(limit.per.total_seconds()) for limit in limits]
        keys = [_key(system, "shut"), _key(system, "word"), _key(system, "care")]
        keys += [_key(system, f"log:{n}:{limit.per.total_seconds():g}") for n, limit in enumerate(limits)]
        numbers = [int(n) for limit, s in zip(limits, seconds, strict=True) for n in (limit.calls, s * 1e6)]
        granted, wait = self._ask(keys=keys, args=[wanted, int(horizon * 1e6), needed, name, *numbers])
        return Permits(int(granted), int(wait) / 1e6)


def client_url(broker_url: str) -> str:
    """The broker's address as the client library spells it; Celery has a form of its own for unix sockets."""
    parts = urlsplit(broker_url)
    if parts.scheme != "redis+socket":
        return broker_url
    host = parts.netloc or ""
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{host}{parts.path}?db={database}"


def _key(system: str, what: str) -> str:
    # In braces, so that a cluster keeps one system's keys in one place.
    return f"expunge:rate:{{{system}}}:{what}"


def _is_nudge_of(message: bytes | str, system: str) -> bool:
    try:
        envelope = json.loads(message)
        arguments = json.loads(base64.b64decode(envelope["body"]))[0]
    except (ValueError, KeyError, TypeError, IndexError):
        return False
    return bool(arguments == [system])
