"""Rules of suppression: what happens to a data subject that re-appears.

Decides the policy for a match. Doesn't read systems (`service.suppression`). Start at `reappearance.py`.
"""
