"""Vendors that do next to nothing, over real HTTP: what is measured is the caller.

    python -m tests.benchmarks.fanout.vendor PORT SYSTEMS PEOPLE

Each system `s0`, `s1`, ... holds the same people. One person per call: `GET /s0/people?email=`, `DELETE /s0/people/ID`.
Many: `POST /s0/lookup` {"emails": [...]}, `POST /s0/delete` {"ids": [...]}, `POST /s0/forget` {"emails": [...]}.
`/__reset__?people=&latency_ms=` and `/__stats__` are the benchmark's own. No framework: the server must not be slower
than the clients it serves.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

CONTROL = "control@vendor.example"
MOST_PEOPLE_PER_CALL = 100


class State:
    """All systems' people: id by e-mail, and how often each system was called."""

    def __init__(self, systems: int) -> None:
        self.systems = systems
        self.latency_seconds = 0.0
        self.reset(0)

    def reset(self, people: int) -> None:
        """The same people, anew, in every system."""
        everybody = {f"p{i}@bench.example": f"{i}" for i in range(people)} | {CONTROL: "control"}
        self.ids = {f"s{n}": dict(everybody) for n in range(self.systems)}
        self.emails = {name: {i: e for e, i in people_.items()} for name, people_ in self.ids.items()}
        self.calls = dict.fromkeys(self.ids, 0)

    def left(self) -> int:
        """People who are still there, control records apart."""
        return sum(len(ids) - 1 for ids in self.ids.values())


def answer(state: State, method: str, target: str, body: bytes) -> tuple[int, object]:
    """Status and JSON of one call."""
    parts = urlsplit(target)
    query = parse_qs(parts.query)
    _, system, *rest = parts.path.split("/")
    if system == "__reset__":
        state.reset(int(query["people"][0]))
        state.latency_seconds = float(query.get("latency_ms", ["0"])[0]) / 1_000
        return 200, {}
    if system == "__stats__":
        return 200, {"calls": sum(state.calls.values()), "left": state.left()}
    state.calls[system] += 1
    ids, emails = state.ids[system], state.emails[system]
    match method, *rest:
        case "GET", "people":
            email = query["email"][0]
            return 200, {"people": [{"id": ids[email], "email": email}] if email in ids else []}
        case "DELETE", "people", person:
            if person not in emails:
                return 404, {"error": "no_such_person"}
            del ids[emails.pop(person)]
            return 204, None
        case "POST", "lookup":
            asked = json.loads(body)["emails"]
            if len(asked) > MOST_PEOPLE_PER_CALL:
                return 422, {"error": "too_many"}
            return 200, {"people": [{"id": ids[e], "email": e} for e in asked if e in ids]}
        case "POST", "delete":
            asked = json.loads(body)["ids"]
            if len(asked) > MOST_PEOPLE_PER_CALL:
                return 422, {"error": "too_many"}
            gone = [i for i in asked if i in emails]
            for person in gone:
                del ids[emails.pop(person)]
            return 200, {"deleted": gone}
        case "POST", "forget":
            asked = json.loads(body)["emails"]
            if len(asked) > MOST_PEOPLE_PER_CALL:
                return 422, {"error": "too_many"}
            known = [e for e in asked if e in ids and e != CONTROL]
            for email in known:
                del emails[ids.pop(email)]
            return 200, {"forgotten": known}
    return 404, {"error": "no_such_place"}


class Protocol(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and Content-Length, as much as httpx needs."""

    def __init__(self, state: State, later: Callable[..., object]) -> None:
        self._state, self._later, self._buffer = state, later, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1")
            length = 0
            for line in head.split("\r\n")[1:]:
                name, _, value = line.partition(":")
                if name.lower() == "content-length":
                    length = int(value)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            method, target, _ = head.split(" ", 2)
            raw = _encoded(*answer(self._state, method, target, body))
            if self._state.latency_seconds and not target.startswith("/__"):
                self._later(self._state.latency_seconds, self._transport.write, raw)
            else:
                self._transport.write(raw)


def _encoded(status: int, content: object) -> bytes:
    body = b"" if content is None else json.dumps(content).encode()
    kind = "" if content is None else "content-type: application/json\r\n"
    return f"HTTP/1.1 {status} x\r\n{kind}content-length: {len(body)}\r\n\r\n".encode() + body


async def serve(port: int, systems: int, people: int) -> None:
    """Serve until the process is ended."""
    state = State(systems)
    state.reset(people)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Protocol(state, loop.call_later), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*(int(argument) for argument in sys.argv[1:4])))
