"""An example of a provider that somebody else writes.

Its channel is `push`, for which the dispatcher has no provider.
"""

from __future__ import annotations

from dispatcher.adapters.providers.fields import Options, Secret, Text
from dispatcher.adapters.providers.provider import Provider
from dispatcher.core.life.outcome import Outcome
from dispatcher.core.life.rendered_message import Message


class PigeonOptions(Options):
    loft: Text
    ring: Secret


class Pigeon:
    def __init__(self, name: str, channel: str, options: PigeonOptions) -> None:
        self.name, self.channel, self._loft = name, channel, options.loft

    async def send(self, message: Message, timeout_s: float) -> Outcome:
        return Outcome.accepted(f"{self._loft}-{message.notification_id}")

    async def close(self) -> None:
        return


PIGEON = Provider("pigeon", ("push",), PigeonOptions, Pigeon)
