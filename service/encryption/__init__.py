"""Rotate keys (encryption epochs, key-encryption keys, peppers), and read their state.

Decides when an epoch ends and its key may be destroyed. Doesn't encrypt (`service.store.encryption`). Start at
`rotate_epochs.py`.
"""
