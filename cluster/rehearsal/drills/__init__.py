"""Outage drills: break one thing on purpose under load, and publish what was lost, repeated and how long it took."""
