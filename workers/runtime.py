"""Open the worker context of this thread of a worker process on first use.

Decides which configuration a worker process reads and which queues it serves. Doesn't decide what is held open
(`service.execution.worker_context`).
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from service.execution.worker_context import WorkerContext
from service.settings import load_settings
from service.store.bootstrap import open_stores
from workers.queues import consumed_queues

CONFIG_VARIABLE = "EXPUNGE_CONFIG"

_local = threading.local()


def runtime() -> WorkerContext:
    """This thread's runtime, opened on first use from the file that EXPUNGE_CONFIG names."""
    if getattr(_local, "pid", None) != os.getpid():
        settings = load_settings(Path(os.environ[CONFIG_VARIABLE]))
        _local.runtime = WorkerContext(settings, open_stores(settings, pool_size=2, plans_once=True), consumed_queues())
        _local.pid = os.getpid()
    opened: WorkerContext = _local.runtime
    return opened
