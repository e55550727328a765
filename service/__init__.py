"""The service: the API and the rules. Knows the law and the state; speaks to no vendor and no broker."""
