"""Real processes without Ray: the same actors, a private Redis, the sandbox vendors. A fault then takes seconds.

| part | what it is |
|---|---|
| `worker` | the processes: intake, supervisor, one per vendor; forked from one that has imported everything |
| `installation` | a private Redis and those processes, with all the ways to break them |
| `foreign` | a Ray cluster of several nodes that somebody else started, without the parts above |
| `link` | what lies between a process and Redis, and can cut, swallow and stall |
| `disk` | which bytes of a file would survive a power cut, as the kernel says |
| `checker` | one judge: the clients' log, the vendors' log, the final state of Redis |
"""
