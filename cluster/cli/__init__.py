"""The command line. The module `main` has the commands that start and deploy the service. The module `operate` has
those that talk to a running service over HTTP.
"""

import os
import signal

if os.getpid() == 1:
    # The first process of a container: the kernel drops a signal for which it has no handler. The program's modules
    # take a second to import, and a stop that comes meanwhile must not wait for the kill that follows it.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
