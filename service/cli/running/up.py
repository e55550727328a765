"""`expunge up`: run the whole service on this machine until Ctrl-C or a signal."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from connectors.base.config import ConfigurationError
from service.cli.printing import note
from service.cli.running.api_process import ApiDidNotStart, Listeners, api_listeners, wait_until_it_answers
from service.cli.running.credential_checks import Checked, check_beside
from service.cli.running.evidence_watch import EvidenceWatch
from service.cli.running.installation import log_directory, prepare, processes, servers, unreconciled
from service.configuration.data_directory import unusable
from service.embedded import EmbeddedServersError
from service.logs import configure_logs
from service.settings import Settings, load_settings
from service.store.audit_log.signing_key import SigningKeyUnusable

_UNUSABLE = (ConfigurationError, EmbeddedServersError, SigningKeyUnusable, ApiDidNotStart)


def up(
    config: Annotated[Path, typer.Option(help="the configuration file")] = Path("expunge.toml"),
) -> None:
    """Start the API, the workers and the scheduler; with no URLs configured, on servers of their own."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        settings = load_settings(config)
        configure_logs(settings.service.log_level)
        with api_listeners(settings) as listeners:
            while not over.is_set():
                _run(settings, listeners, over)
    except _UNUSABLE as error:
        note(str(error))
        raise typer.Exit(2) from None
    except SQLAlchemyError as error:
        # A driver's text may hold what was asked and with what.
        note(f"the stores can't be used ({type(error).__name__}): check database.url and database.key_url")
        raise typer.Exit(2) from None
    except OSError as error:
        if error.filename is None:
            raise
        note(str(unusable(error)))
        raise typer.Exit(2) from None


def _run(settings: Settings, listeners: Listeners, over: threading.Event) -> None:
    """Wait for a signal, or for the end of an embedded server, after which everything is restarted."""
    with servers(settings) as found:
        for told in found.notes:
            note(told)
        with contextlib.closing(prepare(settings, found)) as stores:
            for reason in unreconciled(settings, stores):
                note(f"NO SYSTEM IS CALLED, the audit log isn't reconciled: {reason}")
                note("see `expunge audit reconcile --help`")
            ends = threading.Event()
            with processes(settings, found, listeners) as supervisor:
                wait_until_it_answers(supervisor, listeners, log_directory(settings), over)
                checks = check_beside(settings, _warn, ends)
                if not over.is_set():
                    note(f"Expunge is up: {listeners.address}, {len(settings.systems)} systems. Stop it with Ctrl-C.")
                watch = EvidenceWatch(stores, settings, note)
                while not over.wait(1.0) and not found.ended():
                    watch.look()
                ends.set()
                checks.join(timeout=1.0)
                if not over.is_set():
                    note(f"{', '.join(found.ended())} ended by itself; starting again")
                    return
                note("stopping")


def _warn(checked: Checked) -> None:
    note(
        f"{checked.system}: the credential is refused or can't be checked: {checked.result} ({checked.detail})."
        " Work for this system waits; see `expunge systems check`",
    )
