"""`python -m service.api.serve --config FILE`: the API as a process of its own.

Decides how the server runs: without access log (a path can carry an id, a query a filter), without telling its name,
and with an end that lets running requests finish.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from connectors.base.config import ConfigurationError
from service.api.app import create_app
from service.lifeline import watch_parent
from service.logs import configure_logs
from service.settings import load_settings
from service.storage.open_installation import open_stores

_POOL_SIZE = 12
_MOST_REQUESTS_AT_ONCE = 200
_SECONDS_TO_FINISH = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop. Answers the exit code: 2 if the configuration can't be used."""
    parser = argparse.ArgumentParser(prog="service.api.serve", description="Serve the Expunge API.")
    parser.add_argument("--config", type=Path, required=True, help="the configuration file")
    parser.add_argument("--host", help="address to listen on, instead of the configured one")
    parser.add_argument("--port", type=int, help="port to listen on, instead of the configured one")
    options = parser.parse_args(arguments)
    watch_parent()
    try:
        settings = load_settings(options.config)
        configure_logs(settings.service.log_level)
        stores = open_stores(settings, pool_size=_POOL_SIZE)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(stores, settings),
            host=options.host or settings.service.listen_host,
            port=settings.service.listen_port if options.port is None else options.port,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            limit_concurrency=_MOST_REQUESTS_AT_ONCE,
            timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        )
    )
    try:
        server.run()
    finally:
        stores.close()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
