"""The fan-out benchmark: two vendors that answer at once, their connectors, an installation that is measured."""
