"""Pure rules: values in, decisions out; no input, no output, no clock.

Decides what states, deadlines, plans, clusters, results and audit entries mean. Doesn't read or write anything. Start
at `execution/decide.py` for steps and at `requests/states.py` for requests.
"""
