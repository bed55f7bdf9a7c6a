"""Real processes without Ray: the same actors, a private Redis, the sandbox vendors. A fault then takes seconds.

| part | what it is |
|---|---|
| `worker` | the processes: intake, supervisor, one for each vendor; forked from one that has imported everything |
| `installation` | a private Redis and those processes, with all the ways to break them |
| `foreign` | a Ray cluster of several nodes that was started without us; it uses none of the other parts |
| `link` | a proxy between a process and Redis that can cut connections, lose answers and stall |
| `disk` | tells which bytes of a file would survive a power cut, as the kernel says |
| `checker` | judges a run by the clients' log, the vendors' log, and the final state of Redis |
"""
