"""Limits on beginning calls: the contract's rate, the concurrency that a vendor carries, and the order of lanes."""
