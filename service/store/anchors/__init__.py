"""Anchors: places outside the database that keep the audit log's signed heads. One kind per file."""
