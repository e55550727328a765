"""Tools for connectors: HTTP with the house's error rules, paging, sizes."""
