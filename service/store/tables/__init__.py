"""The main store's tables. Importing this room registers them all on one metadata."""

from service.store.tables import access, anchors, audit, encryption, imports, requests, suppression, work
from service.store.tables.base import Base

metadata = Base.metadata

__all__ = ["Base", "access", "anchors", "audit", "encryption", "imports", "metadata", "requests", "suppression", "work"]
