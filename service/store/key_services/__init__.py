"""Holders of the private half of the audit log's key other than a file: the configuration, or a KMS."""
