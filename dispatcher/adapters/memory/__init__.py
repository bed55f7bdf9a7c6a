"""All ports in the memory of one process, for tests, simulations and replays.

They behave as the Redis adapters do; the contract suite runs on both. A `Cell` is the database. Stores, control
channels and views are like connections to it. Three things are missing: memory limits other than `Cell.full`, lost
replies and half-done changes. The simulation adds these. Fences, missing records, and the order "write the new place,
then remove the old one" are as strict as in the Lua scripts.

One difference remains. Here `own`, `wait`, `due`, `take` and `withdraw` read and change the data at one instant. On
Redis they need two or three calls, and an entry may have gone or moved between two calls. So each script checks again.
"""
