"""The Celery application: messages are nudges with ids only, and no work is lost with a message.

acks_late and reject_on_worker_lost shorten recovery; the sweeper guarantees it. No result backend, no countdown, no
ETA, no chord: due times and retries are columns in SQL.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_init, worker_process_init

from service.logs import configure_logs
from service.parent_watchdog import watch_parent
from service.settings import Settings, load_settings
from service.store.bootstrap import server_url
from workers.expiry import MESSAGE_LIFE_SECONDS
from workers.intervals import MESSAGE_SECONDS
from workers.queues import AUDIT_QUEUE, CONTROL_QUEUE, SYSTEMS_QUEUE
from workers.runtime import CONFIG_VARIABLE


def make_app(settings: Settings) -> Celery:
    """The application for these settings."""
    app = Celery(
        "expunge", broker=server_url(settings, "broker_url"), include=["workers.tasks.work", "workers.tasks.control"]
    )
    tick = settings.engine.tick_seconds
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": 120,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_keepalive": True,
        },
        task_default_queue=CONTROL_QUEUE,
        task_routes={
            "expunge.work_system": {"queue": SYSTEMS_QUEUE},
            "expunge.identify": {"queue": SYSTEMS_QUEUE},
            "expunge.sync_suppression": {"queue": SYSTEMS_QUEUE},
            # In a process of its own: behind long rounds of `advance` the log was 8 to 25 s late (2026-11-22).
            "expunge.sequence": {"queue": AUDIT_QUEUE},
        },
        beat_scheduler="workers.beat:MonotonicScheduler",
        beat_schedule={
            "tick": _every("expunge.tick", max(tick, MESSAGE_SECONDS)),
            "sequence": _every("expunge.sequence", max(tick, MESSAGE_SECONDS)),
            "anchor": _every("expunge.anchor", max(tick * 5, MESSAGE_SECONDS)),
            "sweep": _every("expunge.sweep", max(tick, settings.engine.lease_seconds / 6)),
            "seal": _every("expunge.seal", max(tick * 5, MESSAGE_SECONDS)),
            "syncs": _every("expunge.sync_due", max(tick * 5, MESSAGE_SECONDS)),
            "watch": _every("expunge.watch", max(tick * 15, MESSAGE_SECONDS)),
            "archive": _every("expunge.archive_attempts", 3600.0),
            "orphans": _every("expunge.sweep_orphan_keys", 3600.0),
            "epochs": _every("expunge.rotate_epochs", min(60.0, settings.keys.epoch_seconds)),
        },
    )
    return app


def _every(task: str, seconds: float) -> dict[str, object]:
    return {"task": task, "schedule": seconds, "options": {"expires": max(seconds, MESSAGE_LIFE_SECONDS)}}


@setup_logging.connect
def _logs(**_: object) -> None:
    configure_logs(os.environ.get("EXPUNGE_LOG_LEVEL", "INFO"))


@worker_init.connect
@beat_init.connect
def _supervised(**_: object) -> None:
    watch_parent()


@worker_process_init.connect
def _collect_seldom(**_: object) -> None:
    """Let Python's garbage collector run less often.

    A batch makes tens of thousands of small values that end with it. Searching them and all imported modules for
    reference cycles took a tenth of a worker's time (measured 2026-11-22).
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


app = make_app(load_settings(Path(os.environ[CONFIG_VARIABLE])))
