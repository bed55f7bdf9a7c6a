"""The life of a notification: its values, the outcome of an attempt, and its next place.

Start at `decide`: its rules name every place that a notification can be in.
"""
