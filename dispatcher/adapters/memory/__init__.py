"""The ports in one process, for tests, simulations and replays. They mean the same as the Redis adapters.

One `Cell` is the database. Stores, control channels and views are ends of it, as connections are. The contract suite
runs on both. Not modelled are memory limits beyond `Cell.full`, lost replies, and half-done changes, which the
simulation adds. Fences, orphans, and placing before removing are as strict as in the scripts.

One difference remains. `own`, `wait`, `due`, `take` and `withdraw` look and act at one instant here, while Redis is
asked two or three times. There, an entry that the first call found may be gone, moved or another's at the second, and
each script checks this again.
"""
