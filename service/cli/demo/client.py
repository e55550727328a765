"""The demo's API client, with the calls of a privacy team's own program."""

from __future__ import annotations

import time

import httpx

from service.cli.client import Answer


class DemoClient:
    """Calls the running service with one API key. Raises RuntimeError with the code of a problem."""

    def __init__(self, base_url: str, key: str) -> None:
        self._http = httpx.Client(
            base_url=base_url, headers={"authorization": f"Bearer {key}"}, timeout=30.0, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def wait_until_ready(self, seconds: float) -> None:
        """Return when the service says that it is ready. Raises RuntimeError when it takes too long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if self._http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise RuntimeError("the service did not become ready; its logs are in the data directory")

    def get(self, path: str) -> Answer:
        """GET a JSON document."""
        return self._answer(self._http.get(path))

    def text(self, path: str) -> str:
        """GET a document that isn't JSON."""
        response = self._http.get(path)
        if not response.is_success:
            raise RuntimeError(f"HTTP {response.status_code}")
        return response.text

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        """POST a JSON document, or nothing."""
        return self._answer(self._http.post(path, json=body, headers=headers))

    def _answer(self, response: httpx.Response) -> Answer:
        if response.is_success:
            return response.json() if response.content else None
        raise RuntimeError(f"HTTP {response.status_code}: {response.json().get('code', 'unknown')}")
