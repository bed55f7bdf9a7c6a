"""What operators and vendors ask for from outside: dead letters, receipts, cancelling, and how things stand."""
