"""A notification's life: what it is, how an attempt ended, and where it goes next.

Start at `decide`: its rules name every place that a notification can be in.
"""
