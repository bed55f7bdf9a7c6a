"""Outage drills. Each drill breaks one thing on purpose under load.

A drill reports what was lost, what was repeated, and how long the recovery took.
"""
