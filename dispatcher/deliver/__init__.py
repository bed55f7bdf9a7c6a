"""The work of a vendor actor: claim, render, ask for a permit, send, settle, and take over claims of ended actors.

Start at `courier`, which claims and passes each claim to `attempt`. `permits` protects the vendor, and `outbox`
settles.
"""
