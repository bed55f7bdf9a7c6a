"""Breaks an installation on purpose and judges the result. It has the sandbox vendors, the load, the drills and
the demo.
"""
