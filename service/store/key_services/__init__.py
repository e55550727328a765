"""Who may hold the private half of the audit log's key instead of a file: the configuration, or a KMS."""
