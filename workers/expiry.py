"""How long a message may lie with the broker. Decides nothing about work: what is due stands in rows.

A message expires by the *receiver's* clock, at an instant of the *sender's*. With seconds here, a machine whose clock
was a little ahead threw every message away, and the service stood still without a word. So it is longer than a clock is
wrong that anybody looks after. Messages that pile up because nobody takes them cost milliseconds each, later.
"""

from __future__ import annotations

MESSAGE_LIFE_SECONDS = 3 * 3600.0
