-- Keep writers of data keys out until this transaction ends: the fence of key_epochs.py. SQLAlchemy has no expression.
LOCK TABLE data_keys IN SHARE MODE
