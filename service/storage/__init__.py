"""Tables, the key store, sealing and migrations."""
