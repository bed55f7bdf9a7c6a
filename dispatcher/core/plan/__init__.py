"""The supervisor's decisions: which vendor drains which mailbox, which actors are alive, and how large each pool is.

Start at `decide`, one pure function from reports to the next plan.
"""
