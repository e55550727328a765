"""Evidence that leaves the installation: exports, excerpts, tables, reports, certificates.

Decides which entries and proofs a file holds. Doesn't decide how a report is computed (`service.domain.reports`).
Start at `full.py` for the export and at `certificate.py` for the evidence of one request.
"""
