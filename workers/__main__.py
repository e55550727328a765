"""`python -m workers`: Celery's command line, after quick imports."""

from __future__ import annotations

import sys

from service.quick_imports import quick_imports


def main() -> None:
    """Run Celery with the arguments of this process."""
    with quick_imports():
        from celery.__main__ import main as celery

        import workers.app  # noqa: F401 - so that Celery finds it imported
    sys.exit(celery())


if __name__ == "__main__":
    main()
