"""Conclusions from the store's answers: whether the store lost data, and how time passed there."""
