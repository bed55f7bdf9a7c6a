"""Intake stores triggers durably. Many requests share one round trip to the store."""
