"""End a child process when its parent has ended, in whichever way the parent died.

The parent keeps the writing end of a pipe open, and the child reads. End of file means that the parent is gone.
"""

from __future__ import annotations

import os
import signal
import threading

VARIABLE = "EXPUNGE_LIFELINE"


def watch_parent() -> None:
    """Start watching if the parent passed a lifeline; without one, do nothing. Call once per process."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return
    threading.Thread(target=_wait_for_end, args=(int(text), os.getpid()), name="lifeline", daemon=True).start()


def _wait_for_end(descriptor: int, pid: int) -> None:
    # Nothing is ever written: read returns only at end of file.
    os.read(descriptor, 1)
    os.kill(pid, signal.SIGTERM)
