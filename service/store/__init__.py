"""Infrastructure of storage: engines, statements, sealing, keys, tables, migrations, anchors.

Decides how SQL is executed and how identifiers are sealed. Doesn't hold a rule about requests or steps. Start at
`stores.py`.
"""
