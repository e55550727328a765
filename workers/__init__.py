"""Celery: when and how often, never what. A message is only a nudge; the rows in SQL say what is due."""
