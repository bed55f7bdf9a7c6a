"""The port through which people read triggers. `UnavailableError` means that nothing was read."""

from __future__ import annotations

from typing import Protocol

from dispatcher.core.life.trigger_view import TriggerView


class TriggerViews(Protocol):
    """Read access to triggers."""

    async def trigger(self, trigger_id: str) -> TriggerView | None:
        """Return a trigger with its notifications and attempts.

        Return None if it was never stored, or if its record has expired.
        """
        ...
