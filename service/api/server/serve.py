"""`python -m service.api.server.serve --config FILE`: the API as a process of its own.

Decides how the server runs: without access log (a path can carry an id, a query a filter), without telling its name,
with limits on connections, with probes on a listener of their own, and with an end that lets running requests finish.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from connectors.base.config import ConfigurationError
from service.api.app import create_app
from service.api.server.connection_limits import ConnectionGate, ConnectionLimits
from service.api.server.limited_protocol import limited_protocol
from service.api.server.listening import adopted_listeners, open_listeners
from service.api.server.probes import probes
from service.configuration.connections import ConnectionSettings
from service.logs import configure_logs
from service.parent_watchdog import watch_parent
from service.settings import Settings, load_settings
from service.store.bootstrap import open_stores
from service.store.stores import Stores

_POOL_SIZE = 12
_SECONDS_TO_FINISH = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; return the exit code: 2 if the configuration can't be used."""
    options = _parse(arguments)
    watch_parent()
    with contextlib.ExitStack() as stack:
        try:
            settings = load_settings(options.config)
            configure_logs(settings.service.log_level)
            listeners, probe_listeners = _listeners(options, settings)
            stores = stack.enter_context(contextlib.closing(open_stores(settings, pool_size=_POOL_SIZE)))
            probed = stack.enter_context(contextlib.closing(open_stores(settings, pool_size=1)))
        except ConfigurationError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        server = make_server(stores, settings)
        asyncio.run(serve(server, listeners, probe_listeners, probed, settings))
        return 0 if server.started else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="service.api.server.serve", description="Serve the Expunge API.")
    parser.add_argument("--config", type=Path, required=True, help="the configuration file")
    parser.add_argument("--host", help="address to listen on, instead of the configured one")
    parser.add_argument("--port", type=int, help="port to listen on, instead of the configured one")
    parser.add_argument(
        "--listener", type=int, action="append", default=[], help="descriptor of a socket that listens already"
    )
    parser.add_argument(
        "--probe-listener", type=int, action="append", default=[], help="the same, for service.probe_port"
    )
    return parser.parse_args(arguments)


def _listeners(options: argparse.Namespace, settings: Settings) -> tuple[list[socket.socket], list[socket.socket]]:
    """The API's and the probes' listeners. Raises ConfigurationError."""
    if options.listener:
        return adopted_listeners(options.listener), adopted_listeners(options.probe_listener)
    host = options.host or settings.service.listen_host
    port = settings.service.listen_port if options.port is None else options.port
    listeners = open_listeners(host, port, "service.listen_port")
    if settings.service.probe_port is None:
        return listeners, []
    return listeners, open_listeners(host, settings.service.probe_port, "service.probe_port")


def make_server(stores: Stores, settings: Settings) -> uvicorn.Server:
    """Return a server of the API that ends connections beyond the configured limits. It isn't started yet."""
    app = create_app(stores, settings)
    gate = ConnectionGate(_limits(settings.connections), app.state.metrics.ended_connection)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=limited_protocol(gate),
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=settings.connections.idle_timeout_seconds,
            timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        )
    )


def _limits(settings: ConnectionSettings) -> ConnectionLimits:
    return ConnectionLimits(
        max_connections=settings.max_connections,
        max_connections_per_client=settings.max_connections_per_client,
        header_timeout_seconds=settings.header_timeout_seconds,
        body_timeout_seconds=settings.body_timeout_seconds,
        min_body_bytes_per_second=settings.min_body_bytes_per_second,
        unlimited=settings.proxy_networks,
    )


async def serve(
    server: uvicorn.Server,
    listeners: list[socket.socket],
    probe_listeners: list[socket.socket],
    probed: Stores,
    settings: Settings,
) -> None:
    """Serve the API and its probes until the server is told to exit. Probes ask the stores `probed`."""
    with contextlib.ExitStack() as stack:
        if probe_listeners:
            stack.enter_context(probes(probe_listeners, probed, settings, asyncio.get_running_loop()))
        await server.serve(sockets=listeners)


if __name__ == "__main__":
    sys.exit(main())
