"""Runs the job of `benchmarks.dispatch_cost` with other task queues.

The worker of each task queue is written as the queue's documentation shows it, with the settings that suit it best.
Each worker acknowledges a job after the call to the vendor, as ours does. In arq and in taskiq's stream broker this is
the default, Celery needs `acks_late`, and Dramatiq always does it. Each worker keeps connections to the vendor open and
stores no result. The peers do only the job: they have no breaker, no record of attempts and no failover. Nothing here
imports the dispatcher.
"""
