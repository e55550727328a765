"""How often beat sends its messages.

Decides the intervals between messages. Doesn't decide how often due work is looked for: `engine.tick_seconds` does, and
the task `expunge.tick` looks several times for one message where a tick is shorter than `MESSAGE_SECONDS`.
"""

from __future__ import annotations

MESSAGE_SECONDS = 1.0
"""The shortest interval between two messages of one kind, since a message costs the broker and two processes about 5 ms
of CPU. Audit entries are sequenced no more often either: a batch of one second's entries costs little more than one of
a fifth of a second."""
