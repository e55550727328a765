"""Reading request bodies: size limits, lines of an import, CSV and JSON lines.

Decides when a body is too large, too slow or cut off. Doesn't decide what a line means: `service.requests.imports`
does. Start at `request_body.py`.
"""
