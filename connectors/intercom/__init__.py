"""Intercom: contacts with their conversations and tickets, deleted for good.

Start reading at `connector`.
"""
