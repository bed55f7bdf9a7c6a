"""Judges our requests by software and descriptions that nobody here wrote; `make test-peers` runs it."""
