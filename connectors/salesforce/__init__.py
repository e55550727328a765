"""Salesforce: one person and every record that hangs on them, erased for good; and a strict stand-in of an org."""
