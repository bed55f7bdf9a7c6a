"""Pure decisions, with the standard library only. State, events, time and random numbers are arguments.

A decision is returned as a value. The code at the edges carries it out.
"""
