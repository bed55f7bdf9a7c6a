"""All ports in the memory of one process, for tests, simulations and replays.

These adapters behave as the Redis adapters do, and the contract suite runs on both. A `Cell` is the database. Stores,
control channels and views are like connections to the database. Three things are missing: memory limits other than
`Cell.full`, lost replies and half-done changes. The simulation adds these. A call of an incarnation that is no longer
live, and a call for a missing record, are refused as strictly as by the Lua scripts. A change writes the new place
before it removes the old one, as the scripts do.

One difference remains. Here `own`, `wait`, `due`, `take` and `withdraw` read and change the data at one instant. On
Redis these methods need two or three calls, and an entry may have gone or moved between two calls. So each script
checks again.
"""
