"""The work of a vendor actor: it claims, renders, asks for a permit, sends, settles, and takes the claims of actors
that have ended.

Start at `courier`, which claims and passes each claim to `attempt`. `permits` keeps calls away from a failing vendor,
and `outbox` settles.
"""
