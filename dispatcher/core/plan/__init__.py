"""The supervisor's decisions: which vendor drains which mailbox, who is alive, and how large each pool is.

Start at `decide`: one pure function from reports to the next plan.
"""
