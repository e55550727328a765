"""Imports of many submissions: begin, accept rows, pause, resume, cancel, progress.

Decides the verdict of each row and the state of an import. Doesn't parse files (`service.api.bodies`). Start at
`accept_rows.py`.
"""
