"""A vendor actor's work: claim, render, ask for a permit, send, settle, and look after what was left behind.

Start at `courier`: it claims and hands each claim to `attempt`; `permits` guards the vendor; `outbox` settles.
"""
