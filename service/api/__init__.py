"""The HTTP interface: parse, authenticate, call one verb of a wing, render the result.

Decides status codes, problem documents and limits of a call. Doesn't decide what a request may become: the wings do.
Start at `app.py`; `routes/` has one module per resource, `bodies/` reads large and streamed bodies.
"""
