"""Rules of encryption epochs: when one is due for rotation, when its key may be destroyed.

Decides nothing about ciphers. Start at `epochs.py`.
"""
