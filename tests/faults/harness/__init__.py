"""What the runs with faults are made of: an installation of eight systems, its faults, its mutants and its verdict."""
