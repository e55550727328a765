"""A step's cycle: select due steps, lease a batch, call the connector, record the results.

Decides which steps a worker takes, whether an effect may proceed, and what a result makes of a step. Doesn't decide
what a plan holds (`service.requests.planning`) nor when a worker wakes (`workers`). Start at `run_batch.py`.
"""
