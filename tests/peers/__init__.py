"""What leaves the process, judged by what nobody here wrote; `make test-peers` runs it."""
