"""Counts and logs each decision about a notification, after the store has stored or refused this decision."""

from __future__ import annotations

from dispatcher.core.life.decide import REFUSED_BY_ALL, Dead, Decision, Drop, Move, Retry
from dispatcher.core.life.notification import Claim
from dispatcher.telemetry.log import logger
from dispatcher.telemetry.metrics import Metrics


def count(metrics: Metrics, vendor: str, claim: Claim, decision: Decision) -> None:
    """Count and log a `decision` that the store has stored: a move, a retry, a dead letter or a dropped entry.

    Nothing is counted for any other decision.
    """
    match decision:
        case Move(vendor=to):
            metrics.count("dispatcher_moves", vendor, to)
        case Retry(reason=reason):
            if reason == REFUSED_BY_ALL:
                metrics.count("dispatcher_refused_by_all", claim.notification.channel)
                logger().warning("notification_refused_by_all", notification=claim.notification.id, vendor=vendor)
            metrics.count("dispatcher_retries", vendor)
        case Dead(reason=reason):
            # The text after a colon, such as a variable's name, is only for the record, because labels must be few.
            metrics.count("dispatcher_dead", vendor, reason.split(":")[0])
            logger().warning("notification_dead", notification=claim.notification.id, reason=reason, vendor=vendor)
        case Drop():
            metrics.count("dispatcher_orphans", vendor)


def count_refused(metrics: Metrics, vendor: str, claim: Claim, decision: Decision) -> None:
    """Count and log that the store refused `decision`, because a record or a key in the store has the wrong type."""
    metrics.count("dispatcher_refused_outcomes", vendor)
    outcome = type(decision).__name__.lower()
    logger().error("outcome_refused", notification=claim.notification.id, outcome=outcome, vendor=vendor)
