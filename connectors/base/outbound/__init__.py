"""Every HTTP call that the service makes goes out through here: `open_client` gives an httpx client that is strict.

Decides which addresses a call may reach, how long it may last, how much of an answer is read, whom TLS believes and
which proxy is used. Does not decide what an answer means. Start reading at `client.py`; `destinations.py`, one floor
up, has the rules for URLs and addresses.
"""
