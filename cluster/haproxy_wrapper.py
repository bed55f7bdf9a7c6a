"""Run haproxy with what Ray's template has no setting for. Started by Serve in haproxy's place; standard library only.

    haproxy_wrapper.py REAL_BINARY ARGUMENTS…

It edits a copy of the generated configuration beside the original and becomes haproxy (same pid, as Serve expects):
metrics and statistics on loopback, a deadline for slow headers, 503 instead of 404 while no route exists, 503 kept 503.
It dies with its parent: an orphan would hold the port and stop the next start. A pattern that does not match is skipped
with a word, except those that keep ports off other people's network: without them it refuses to start. A test renders
Ray's template and asserts each one.
"""

import ctypes
import os
import re
import signal
import sys

EDITS = (
    ("metrics on loopback", r"bind :(\d+)", r"bind 127.0.0.1:\1"),
    ("statistics on loopback", r"bind \*:(\d+)(\n\s*stats enable)", r"bind 127.0.0.1:\1\2"),
    ("header deadline", r"( *timeout client .*\n)", r"\1    timeout http-request 3s\n"),
    ("no route yet is 503", r"http-request return status 404 ", r"http-request return status 503 "),
    ("503 stays 503", r" *errorfile 50[234] .*\n", r""),
)


VITAL = ("metrics on loopback", "statistics on loopback")


def edited(text: str) -> tuple[str, list[str]]:
    """The configuration with every edit made, and the names of those that matched nothing."""
    missed = []
    for name, pattern, replacement in EDITS:
        text, count = re.subn(pattern, replacement, text)
        if count == 0:
            missed.append(name)
    return text, missed


def main(arguments: list[str]) -> None:
    binary, arguments = arguments[0], arguments[1:]
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    for at, word in enumerate(arguments[:-1]):
        path = arguments[at + 1]
        if word == "-f" and os.path.isfile(path):
            with open(path) as file:
                text, missed = edited(file.read())
            for name in missed:
                sys.stderr.write(f"haproxy wrapper: EDIT NOT MADE: {name}\n")
            if set(missed) & set(VITAL):
                sys.exit("haproxy wrapper: refusing to listen on every interface")
            with open(path + ".nd", "w") as file:
                file.write(text)
            arguments[at + 1] = path + ".nd"
    os.execv(binary, [binary, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
