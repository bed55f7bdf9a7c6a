"""Checks the certificate and the key for HAProxy and writes them into one file. The HAProxy wrapper runs this program.

    python -m cluster.local.certificate_check DRAFT STAMP CERTIFICATE [KEY]

The wrapper itself uses the standard library only. This check needs other packages, so it is a program of its own. It
writes the file DRAFT, which only the owner may read. The first line of DRAFT has STAMP and the time until which the
certificate is valid. After that come the chain and the key in PEM. If the certificate and the key cannot be used, this
program writes a sentence to stdout, exits with 1, and writes no file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from dispatcher.config.certificate import read_pair
from dispatcher.errors import ConfigError


def check(draft: Path, stamp: str, files: list[str]) -> str | None:
    """Check the certificate and the key in `files`, and write both to the file `draft`. `stamp` is noted in its first
    line.

    Return None. If the certificate and the key do not belong together, or `draft` cannot be written, return a sentence
    about that instead.
    """
    paths = [Path(name) for name in files]
    try:
        pair = read_pair(paths[0], paths[1] if len(paths) > 1 else None, time.time())
    except ConfigError as error:
        return str(error)
    first = json.dumps({"stamp": stamp, "ends_s": int(pair.ends_s)})
    with contextlib.suppress(FileNotFoundError):  # O_EXCL: nobody else made the file that gets the key
        draft.unlink()
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(f"# {first}\n".encode() + pair.pem)
    except OSError as error:
        return f"{draft}: cannot be written: {error.strerror}"
    return None


if __name__ == "__main__":
    refused = check(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    if refused is not None:
        print(refused)
    sys.exit(refused is not None)
