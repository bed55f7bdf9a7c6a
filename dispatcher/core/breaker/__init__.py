"""The circuit breaker of a vendor: when calls stop, how they come back, and what counts as evidence.

Start at `breaker`: a state machine without clock, lock or IO. `per_country` puts smaller ones beneath it.
"""
