"""Systems as a whole: configuration, availability, rate limits, quotas, circuit breaker.

Decides whether a batch of this system may be leased now and how fast its calls go. Doesn't decide anything about one
person. Start at `admit.py`.
"""
