"""Every message goes out several times, in an order of nobody's making: what at-least-once delivery may do at worst.

A process with this installed puts its copies on a shelf of the broker; `deliver` (in the test's own process) takes all
that lies there, shuffles, and hands it on.
"""

from __future__ import annotations

import json
import random
from typing import Any
from uuid import uuid4

import redis

_SHELF = "tests.shelf"


def install(copies: int) -> None:
    """Shelve each message so many times in place of sending it."""
    from kombu.transport.redis import Channel

    def put(self: Any, queue: str, message: Any, **named: Any) -> None:
        for _ in range(copies):
            properties = message["properties"] | {"delivery_tag": str(uuid4())}
            with self.conn_or_acquire() as client:
                client.rpush(_SHELF, json.dumps([queue, json.dumps(message | {"properties": properties})]))

    Channel._put = put


def deliver(broker: redis.Redis, chosen: random.Random) -> int:
    """Hand on what lies on the shelf, shuffled. Returns how many messages."""
    shelved: Any = broker.lpop(_SHELF, 10_000) or []
    chosen.shuffle(shelved)
    for line in shelved:
        queue, message = json.loads(line)
        broker.lpush(queue, message)
    return len(shelved)
