"""What a person does with steps: list them, retry them, resolve them, park them.

Decides which steps a decision may change. Doesn't decide what a connector's result makes of a step: the rules in
`service.domain.execution` do. Start at `resolve.py`.
"""
