"""Breaks an installation on purpose and judges the result.

This package has the sandbox vendors, the clients that post triggers, the drills and the demo.
"""
