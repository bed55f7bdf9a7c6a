"""Estimates what a machine or a cluster can carry, from measured profiles."""
