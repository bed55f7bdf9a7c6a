"""Intake turns triggers into durable records, many requests in one round trip."""
