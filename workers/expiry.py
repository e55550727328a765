"""The time after which a message at the broker expires.

Decides nothing about work, because due work is in rows. A message expires by the *receiver's* clock, at an instant of
the *sender's*. With an expiry of seconds, a machine whose clock was a little ahead dropped every message, and the
service stopped without an error. So the expiry is longer than any clock's error on a maintained machine. A message that
waits without a receiver costs milliseconds later.
"""

from __future__ import annotations

MESSAGE_LIFE_SECONDS = 3 * 3600.0
