"""Limits: a tenant's accept rate, a vendor's contract rate and calls in flight, and the order of lanes and tenants."""
