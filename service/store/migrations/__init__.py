"""Alembic's environment and versions of the main store."""
