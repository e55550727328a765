"""The warehouse: where the identity graph lies, and erasure in the warehouse's own tables."""
