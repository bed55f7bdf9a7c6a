"""The same job in other task queues, each as its own documentation writes it, at the settings that suit it best.

Each worker acknowledges after the call, as ours does (arq and taskiq's stream broker do by themselves, Celery with
`acks_late`, Dramatiq always), keeps connections to the vendor open, and stores no result. The job is theirs in full: no
breaker, no record of attempts, no failover. Nothing here imports the dispatcher.
"""
