"""The whole dispatcher in one process, in virtual time and from one seed, while everything fails.

The product's own code runs here: two intakes, the vendor actors with their couriers and caretakers, and the
supervisor. The surroundings are simulated:

| module | what it simulates |
|---|---|
| `process` | the clock, the event loop, and processes that die or freeze |
| `network` | the network in front of the memory store |
| `cast` | vendors, clients, and a host that replaces dead processes |
| `scene` | the world of one seed, with its orders and faults |
| `checker` | the judge, which reads only what vendors received, what clients were answered and what is stored |
| `run` | one seed from its first order until everything is at rest |

A killed process never runs another step. The steps of a frozen process are kept for later. Both can happen at any
await. Nothing of the process is cancelled and no `finally` runs, as with SIGKILL and SIGSTOP. Requests that the
process had sent to the store are still carried out.

    python -m tests.simulation                  # 10,000 seeds
    python -m tests.simulation --seed 42        # one seed, with its trace
"""
