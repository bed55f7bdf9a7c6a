"""A vendor actor's work: claim, render, ask for a permit, send, settle, and clean up after actors that ended.

Start at `courier`: it claims, and hands each claim to `attempt`. `permits` protects the vendor, `outbox` settles.
"""
