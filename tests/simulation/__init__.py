"""The whole dispatcher in one process, on virtual time, from one seed, with everything failing at once.

What runs is the product: two intakes, the vendor actors with their couriers and caretakers, the supervisor. What is
played: the clock and the loop (`process`), the network in front of the memory store (`network`), vendors, clients and
whoever restarts the dead (`cast`), the world and its plot (`scene`), and the judge, who believes only what vendors
received, what clients were answered and what is stored (`checker`). `run` plays a seed from its first order to rest.

A process is killed by never running another of its steps, and frozen by keeping its steps for later, both at any of
its awaits: nothing of it is cancelled, no `finally` runs, just as with SIGKILL and SIGSTOP. What it had sent to the
store is done all the same.

    python -m tests.simulation                  # 10,000 seeds
    python -m tests.simulation --seed 42        # one seed, with its trace
"""
