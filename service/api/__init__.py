"""The front door: HTTP in, HTTP out, no rules. FastAPI is spoken here and nowhere else."""
