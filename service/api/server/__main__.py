"""`python -m service.api.server`: the API as a process, after quick imports; arguments as for `serve`."""

from __future__ import annotations

import sys

from service.quick_imports import quick_imports


def run() -> int:
    """Serve until a signal; return the exit code."""
    with quick_imports():
        from service.api.server.serve import main
    return main()


if __name__ == "__main__":
    sys.exit(run())
