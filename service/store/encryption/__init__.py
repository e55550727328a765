"""Keys and ciphers: data keys, epoch keys, key-encryption keys, peppers, sealing.

Decides how identifiers are sealed and where keys are kept. Doesn't decide when a key is destroyed
(`service.encryption`). Start at `key_store.py`.
"""
