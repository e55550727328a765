"""The code that speaks to each kind of system.

Vendors import `connectors.base` and never each other.
"""
