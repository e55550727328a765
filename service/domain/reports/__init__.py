"""Reports that the law or an auditor asks for, computed from the audit log's entries and nothing else."""
