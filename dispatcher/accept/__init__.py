"""Intake: from a validated trigger to a durable record, many requests in one round trip."""
