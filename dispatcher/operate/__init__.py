"""The operations that operators and vendors ask for: dead letters, receipts, cancelling and status."""
