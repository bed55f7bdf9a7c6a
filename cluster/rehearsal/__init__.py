"""Breaks an installation on purpose, and judges it: sandbox vendors, load, drills, the demo and its verdict."""
