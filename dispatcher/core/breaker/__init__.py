"""The circuit breaker of a vendor: when calls stop, when they start again, and what counts as evidence.

Start at `breaker`, a state machine without clock, lock or IO. `per_country` adds a smaller breaker for each country.
"""
