"""The operations that operators, callers and vendors ask for: dead letters, receipts, cancelling and status."""
