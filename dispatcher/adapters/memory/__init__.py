"""The ports in one process, with the meaning of the Redis adapters: for tests, simulations and replays.

One `Cell` is the database; stores, control channels and views are ends of it, as connections are. The contract suite
runs on both. What is not modelled: memory limits beyond `Cell.full`, lost replies, and half-done changes (the
simulation puts them in front). As strict as the scripts in fences, in what makes an entry an orphan, and in placing
before removing. It differs in that `own`, `wait`, `due`, `take` and `withdraw` look and act at one instant, where
Redis is asked two or three times: there an entry found by the first look may be gone, moved or another's by the
second, which each script checks again.
"""
