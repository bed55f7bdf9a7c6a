"""The same job in other task queues, written as each one's documentation shows it, with the settings that suit it best.

Each worker acknowledges after the call, as ours does. arq and taskiq's stream broker do so by default, Celery with
`acks_late`, and Dramatiq always. Each worker keeps connections to the vendor open and stores no result. The peers do
only the job: they have no breaker, no record of attempts and no failover. Nothing here imports the dispatcher.
"""
