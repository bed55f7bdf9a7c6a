"""The ports in one process, with the meaning of the Redis adapters: for tests, simulations and replays.

One `Cell` is the database; stores, control channels and views are ends of it, as connections are. The contract suite
runs on both. What is not modelled: memory limits beyond `Cell.full`, lost replies, and half-done changes.
"""
