"""Zendesk Support: users, the tickets they requested, and their suspended tickets. See README.md."""
