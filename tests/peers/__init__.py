"""Tests that check our requests with software and descriptions that others wrote. `make test-peers` runs them."""
