"""Zendesk Support: users with their tickets, erased for good. Start reading at `connector`."""
