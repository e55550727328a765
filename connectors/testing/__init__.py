"""Equipment for testing connectors: the conformance suite and the server of the stand-ins.

Decides what every connector must prove. Isn't imported by the running service, except for the demo. Start at
`conformance/suite.py`.
"""
