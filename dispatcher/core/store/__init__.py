"""Conclusions from the store's answers: whether it lost something, and how time passed there."""
