"""The main store's tables. Importing this room registers them all on one metadata."""

from service.storage.tables import access, anchors, audit, encryption, imports, requests, suppression, work
from service.storage.tables.base import Base

metadata = Base.metadata

__all__ = ["Base", "access", "anchors", "audit", "encryption", "imports", "metadata", "requests", "suppression", "work"]
