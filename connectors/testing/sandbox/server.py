"""Serves stand-ins over real HTTP on 127.0.0.1, several under one port or each on its own.

Decides how faults look on the wire. `/__sandbox__/...` is the ground truth (state, journal, faults, seed, residue,
owned), for tests and the demo only; it needs the control token that the server was started with.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from connectors.testing.sandbox.faults import Fault, FaultKind
from connectors.testing.sandbox.harness import Call, Result, Sandbox, parse_call
from connectors.testing.sandbox.limits import EnforcedLimit

_transports: dict[tuple[str, int], asyncio.Transport] = {}


class _CuttableProtocol(H11Protocol):
    """Remembers the transport of each client, so that a fault can cut the line."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            _transports[(peer[0], peer[1])] = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        peer = self.transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            _transports.pop((peer[0], peer[1]), None)
        super().connection_lost(exc)


class SandboxApp:
    """ASGI application over `{mount: Sandbox}`.

    The mount is the first path segment, or "" for the only stand-in.
    """

    def __init__(self, sandboxes: Mapping[str, Sandbox], control_token: str) -> None:
        self.sandboxes = dict(sandboxes)
        self.control_token = control_token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        raw_path = scope["raw_path"].decode("ascii").split("?")[0]
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        sandbox, path = self._find(raw_path)
        if sandbox is None:
            await _send(send, Result(404, {"error": "no such sandbox"}))
            return
        # As a proxy tells it: a stand-in whose answers name its own address must know where it is mounted.
        headers["x-forwarded-prefix"] = raw_path.removesuffix(path)
        call = parse_call(scope["method"], path, scope["query_string"], headers, body)
        if path.startswith("/__sandbox__/"):
            await _send(send, self._control(sandbox, call))
            return
        await self._serve(sandbox, call, scope, send)

    def _find(self, raw_path: str) -> tuple[Sandbox | None, str]:
        if "" in self.sandboxes:
            return self.sandboxes[""], raw_path
        mount, _, rest = raw_path.lstrip("/").partition("/")
        return self.sandboxes.get(mount), "/" + rest

    async def _serve(self, sandbox: Sandbox, call: Call, scope: Any, send: Any) -> None:
        fault = next((f for f in sandbox.faults if f.applies(call.method, call.path)), None)
        entry: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(),
            "method": call.method,
            "path": call.path,
            "query": list(call.query_list),
            "body": call.body.decode("utf-8", "replace"),
            "headers": {k: v for k, v in call.headers.items() if k != "authorization"},
            "fault": fault.kind.value if fault else None,
            "status": None,
        }
        sandbox.journal.append(entry)
        if sandbox.latency_seconds:
            await asyncio.sleep(sandbox.latency_seconds)
        if fault is None:
            result = sandbox.admit(call)
            entry["status"] = result.status
            await _send(send, result)
            return
        await _misbehave(sandbox, call, fault, entry, scope, send)

    def _control(self, sandbox: Sandbox, call: Call) -> Result:
        if call.headers.get("x-sandbox-token") != self.control_token:
            return Result(403, {"error": "control token required"})
        action = call.path.removeprefix("/__sandbox__/")
        payload: Any = json.loads(call.body) if call.body else None
        if action == "state" and call.method == "GET":
            return Result(200, sandbox.state)
        if action == "records" and call.method == "GET":
            return Result(200, sandbox.records())
        if action == "journal" and call.method == "GET":
            return Result(200, sandbox.journal)
        if action == "residue" and call.method == "POST":
            return Result(200, sandbox.residue(set(payload)))
        if action == "owned" and call.method == "POST":
            return Result(200, sandbox.owned_by(set(payload)))
        if action == "seed" and call.method == "POST":
            sandbox.seed(payload)
            return Result(204)
        if action == "faults" and call.method == "GET":
            return Result(200, [asdict(f) for f in sandbox.faults])
        if action == "faults" and call.method == "PUT":
            sandbox.faults = [Fault(**f) for f in payload]
            return Result(204)
        if action == "limits" and call.method == "PUT":
            sandbox.enforced_limits = [EnforcedLimit(**limit) for limit in payload]
            return Result(204)
        if action == "latency" and call.method == "PUT":
            sandbox.latency_seconds = float(payload)
            return Result(204)
        return Result(404, {"error": "no such control"})


async def _misbehave(sandbox: Sandbox, call: Call, fault: Fault, entry: dict[str, Any], scope: Any, send: Any) -> None:
    kind = fault.kind
    if kind is FaultKind.STATUS:
        headers = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
        result = Result(fault.status, fault.body, headers)
    elif kind is FaultKind.HTML:
        result = Result(200, b"<html><body>maintenance</body></html>", {"content-type": "text/html"})
    elif kind is FaultKind.HOSTILE:
        result = Result(200, str(fault.body).encode(), {"content-type": "application/json"})
    elif kind is FaultKind.HUGE:
        result = Result(200, {"padding": "x" * int(fault.seconds * 1024 * 1024)})
    elif kind is FaultKind.REDIRECT:
        result = Result(302, None, {"location": "http://127.0.0.1:9/elsewhere"})
    elif kind is FaultKind.LIE:
        result = sandbox.handle_lying(call)
    elif kind is FaultKind.BLIND:
        result = sandbox.blind(call, sandbox.handle_lying(call))
    elif kind is FaultKind.STALL:
        await asyncio.sleep(fault.seconds)
        result = sandbox.handle(call)
    elif kind is FaultKind.DROP_BEFORE:
        _cut(scope)
        return
    else:
        result = sandbox.handle(call)
    entry["status"] = result.status
    if kind is FaultKind.DROP_AFTER:
        _cut(scope)
        return
    if kind is FaultKind.HALF_BODY:
        await _send(send, result, half=True)
        _cut(scope)
        return
    await _send(send, result)


def _cut(scope: Any) -> None:
    transport = _transports.get(tuple(scope["client"]))
    if transport is not None:
        transport.abort()


async def _send(send: Any, result: Result, *, half: bool = False) -> None:
    headers = dict(result.headers)
    if result.body is None:
        payload = b""
    elif isinstance(result.body, bytes):
        payload = result.body
    else:
        payload = json.dumps(result.body, ensure_ascii=False).encode()
        headers.setdefault("content-type", "application/json; charset=utf-8")
    if result.status not in (204, 304):
        headers["content-length"] = str(len(payload))
    raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": result.status, "headers": raw})
    if half:
        await send({"type": "http.response.body", "body": payload[: len(payload) // 2], "more_body": True})
        return
    await send({"type": "http.response.body", "body": payload})


class SandboxServer:
    """Runs stand-ins on a free port of 127.0.0.1, in a thread of this process. A context manager.

    `url(mount)` is the base URL of one; with a single sandbox mount it as "" to have it at the root. `tls`: files of
    a certificate and of its key; then it speaks HTTPS.
    """

    def __init__(
        self,
        sandboxes: Mapping[str, Sandbox],
        *,
        control_token: str = "sandbox",  # noqa: S107 - guards a stand-in, not data
        port: int = 0,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.sandboxes = dict(sandboxes)
        self._scheme = "http" if tls is None else "https"
        # With the protocol named, asyncio switches Nagle off; without it every answer waits 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            SandboxApp(self.sandboxes, control_token),
            http=_CuttableProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="critical",
            timeout_graceful_shutdown=1,
            ssl_certfile=None if tls is None else str(tls[0]),
            ssl_keyfile=None if tls is None else str(tls[1]),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def url(self, mount: str = "") -> str:
        """The base URL of one stand-in."""
        return f"{self._scheme}://127.0.0.1:{self.port}" + (f"/{mount}" if mount else "")

    def __enter__(self) -> SandboxServer:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the sandbox server did not start")
            threading.Event().wait(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    def run_forever(self) -> None:
        """Serve in the calling thread until the process is told to stop."""
        self._run()
