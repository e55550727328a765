"""Celery tasks, each three lines: take what is due, call, record."""
